# ruff: noqa: E501 - one case a line
"""Files that a message carries: what they are by content, what archives hide, who is listed in them; hostile ones too."""

from __future__ import annotations

import asyncio
import base64
import binascii
import bz2
import gzip
import hashlib
import io
import json
import lzma
import mmap
import random
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable
from time import process_time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from relay.address import parse
from relay.aside import Threads
from relay.checks import CHECKS, attachment_listed, attachment_type, contact_list
from relay.checks.check import Check
from relay.message import Message, archive, files, filetype
from relay.message.people import People
from relay.model import Domain, Envelope, Evidence, Mail, Recipient, Session, Tenant
from relay.ports import Tools, Unavailable

ACME = Tenant("acme", "p", domains=(Domain("acme.example", "acme", verified=True),))


class Listed:
    """Lists with these digests."""

    version = 1

    def __init__(self, *digests: str) -> None:
        self.digests = digests

    def entries(self, name: str) -> tuple[str, ...]:
        return self.digests if name == "attachments" else ()

    def holds(self, name: str, value: str) -> bool:
        return value in self.entries(name)


def with_files(*parts: tuple[str, bytes], text: str = "hello", kind: str = "application/octet-stream") -> Message:
    """A message with these (name, content) attached."""
    lines = [
        b"From: Ann <ann@acme.example>\r\nTo: Bob <bob@example.com>, c@example.net\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=xyz\r\n\r\n--xyz\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        + text.encode("utf-8", "surrogatepass").replace(b"\n", b"\r\n")
    ]
    for name, content in parts:
        quoted = "".join(f"%{octet:02X}" for octet in name.encode("utf-8", "surrogatepass"))
        head = f"Content-Type: {kind}\r\nContent-Disposition: attachment; filename*=utf-8''{quoted}\r\n"
        head += "Content-Transfer-Encoding: base64\r\n\r\n"
        lines.append(b"\r\n--xyz\r\n" + head.encode() + base64.encodebytes(content).replace(b"\n", b"\r\n"))
    return Message.parse(b"".join([*lines, b"\r\n--xyz--\r\n"]))


def mail(message: Message, tenant: Tenant = ACME) -> Mail:
    envelope = Envelope("ref", 0.0, tenant, "marketing", parse("ann@acme.example"))
    envelope.recipients = [Recipient(parse("bob@example.com"))]
    return Mail(0.0, Session("0", "192.0.2.1", "l"), envelope, message=message)


def run(check: Check, message: Message, lists: Any = None, aside: Any = None, **given: Any) -> Evidence | None:
    tools = Tools(None, None, None, lists=lists or Listed(), aside=aside)  # type: ignore[arg-type]
    return asyncio.run(check.run(mail(message), check.settings(**given), tools))  # type: ignore[arg-type]


def what(*parts: tuple[str, bytes], **given: Any) -> str:
    """What attachment-type finds first, "" for nothing."""
    found = run(attachment_type.CHECK, with_files(*parts), **given)
    return str(found.seen["what"]) if found else ""


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as made:
        for name, content in members:
            made.writestr(name, content)
    return held.getvalue()


def tarred(*members: tuple[str, bytes], mode: Any = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode, format=form) as made:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return held.getvalue()


# -- kinds by content -----------------------------------------------------------------------------
PE = b"MZ\x90\x00" + bytes(56) + struct.pack("<L", 128) + bytes(64) + b"PE\0\0" + bytes(40)
ELF = b"\x7fELF\x02\x01\x01" + bytes(60)
CLASS = b"\xca\xfe\xba\xbe\x00\x00\x00\x34" + bytes(60)
FAT_MACH_O = b"\xca\xfe\xba\xbe\x00\x00\x00\x02" + bytes(60)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
VBA = OLE + bytes(1024) + "_VBA_PROJECT".encode("utf-16-le") + bytes(512)
ISO = bytes(0x8000) + b"\x01CD001\x01" + bytes(4096)
DMG = b"\x78\xda" + bytes(3000) + b"koly" + bytes(508)
VHD = b"\xeb" + bytes(4000) + b"conectix" + bytes(504)
LNK = b"\x4c\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46" + bytes(60)
DOCX = (("[Content_Types].xml", b"<Types/>"), ("word/document.xml", b"<w:p>hello</w:p>"))
XLSX = (("[Content_Types].xml", b"<Types/>"), ("xl/workbook.xml", b"<x/>"))
ODT = (("mimetype", b"application/vnd.oasis.opendocument.text"), ("content.xml", b"<x/>"))
PDF = b"%PDF-1.7\n1 0 obj\n"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.mark.parametrize(
    ("name", "content", "group"),
    [
        ("photo.jpg", PE, "program"),
        ("invoice.pdf", ELF, "program"),
        ("a", CLASS, "program"),
        ("a", FAT_MACH_O, "program"),
        ("a", b"\xcf\xfa\xed\xfe\x07\0\0\x01" + bytes(40), "program"),
        ("a.doc", b"MZ" + bytes(100), "program"),
        ("app.txt", zipped(("META-INF/MANIFEST.MF", b"x"), ("A.class", CLASS)), "program"),
        ("app", zipped(("AndroidManifest.xml", b"x"), ("classes.dex", b"dex\n035\0")), "program"),
        ("setup", OLE + bytes.fromhex("84100c0000000000c000000000000046") + bytes(99), "program"),
        ("x.deb", b"!<arch>\ndebian-binary   ", "program"),
        ("help.txt", b"ITSF\x03\0\0\0" + bytes(90), "program"),
        ("old.com", b"\xb8\x00\x01\xcd\x21\x00" * 9, "program"),
        ("run", b"#!/bin/sh\nrm -rf /\n", "script"),
        ("notes.vbs", b"MsgBox 1", "script"),
        ("notes.JS . ", b"alert(1)", "script"),
        ("a.bat", "@echo off".encode("utf-16"), "script"),
        ("a.dat", b"#@~^AAAA==", "script"),
        ("a.txt", b"<html><HTA:APPLICATION id=x></html>", "script"),
        ("a.xml", b'<?xml version="1.0"?>\n<job id="x"><script language="VBScript">', "script"),
        ("doc", LNK, "shortcut"),
        ("site.txt", b"[InternetShortcut]\r\nURL=file://x", "shortcut"),
        ("a", b"\xef\xbb\xbf[Desktop Entry]\nExec=x", "shortcut"),
        ("server", b"screen mode id:i:2\nfull address:s:evil.example\n", "shortcut"),
        ("x.settingcontent-ms", b"<PCSettings/>", "shortcut"),
        ("rates.iqy", b"WEB\r\n1\r\nhttps://evil.example/x\r\n", "shortcut"),
        ("tool.pyw", b"import os\nos.system('calc')\n", "script"),
        ("invoice.js. ", b"alert(1)", "script"),
        ("invoice.exe.", PE, "program"),
        ("book.slk", b'ID;P\r\nO;E\r\nNN;NAuto_open;ER1C1\r\nC;X1;Y1;EEXEC("cmd.exe")\r\nE\r\n', "macros"),
        ("rates.csv", b"ID;PWXL;N;E\nP;PGeneral\nO;L;D;V0;K47;E;G100 0.001\n", "macros"),
        ("disk", ISO, "disk-image"),
        ("disk", DMG, "disk-image"),
        ("disk", VHD, "disk-image"),
        ("disk", b"vhdxfile" + bytes(90), "disk-image"),
        ("disk.img", b"\xeb\x3c\x90MSDOS5.0" + bytes(43) + b"FAT12   " + bytes(448) + b"\x55\xaa", "disk-image"),
        ("letter.doc", VBA, "macros"),
        ("letter.docx", zipped(*DOCX, ("word/vbaProject.bin", OLE)), "macros"),
        ("book.xls", zipped(*XLSX, ("xl/macrosheets/sheet1.xml", b"<x/>")), "macros"),
        ("text.odt", zipped(*ODT, ("Basic/Standard/Module1.xml", b"<x/>")), "macros"),
        ("invoice.pdf.exe", b"hello", "double-extension"),
        ("invoice.pdf            .exe", b"hello", "double-extension"),
        ("scan.jpg.js", b"alert(1)", "double-extension"),
        ("invoice\u202efdp.exe", b"hello", "reversed-name"),
        ("\u202dx.txt", b"hello", "reversed-name"),
        # and what is honest
        ("photo.jpg", b"\xff\xd8\xff\xe0" + bytes(50), ""),
        ("a.pdf", PDF, ""),
        ("letter.docx", zipped(*DOCX), ""),
        ("text.odt", zipped(*ODT, ("Basic/Standard/script-lb.xml", b"<x/>")), ""),
        ("old.doc", OLE + bytes(4096), ""),
        ("letter.docx", OLE + "EncryptedPackage".encode("utf-16-le") + bytes(99), ""),
        ("stock.slk", b'ID;PWXL;N;E\r\nO;L;D;V0;K47;G100 0.001\r\nC;Y1;X1;K"E;E"\r\nC;Y2;X1;K7;ER1C1*2\r\nE\r\n', ""),
        ("list.csv", b"ID;Name;E\r\n1;Ann;E\r\n2;Otto;O;E\r\n", ""),
        ("tool.py", b"import os\n", ""),
        ("invoice.pdf.", PDF, ""),
        ("MZ.txt", b"MZ Consulting Ltd, Main Street 1\r\n" * 9, ""),
        ("notes.txt", b"#hashtag\n#! is how scripts begin", ""),
        ("a.txt", "Grüße, şöyle".encode("utf-16"), ""),
        ("\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea\u200f.pdf", PDF, ""),
        ("\u2067\u0641\u0627\u062a\u0648\u0631\u0629\u2069.pdf", PDF, ""),
        ("v1.2.final.pdf", PDF, ""),
        ("www.acme.com", b"hello", ""),
        ("setup.exe.txt", b"how to install setup.exe", ""),
        ("meeting.ics", b"BEGIN:VCALENDAR\r\n", ""),
        ("empty", b"", ""),
        ("", PNG, ""),
        ("report.csv.zip", zipped(("report.csv", b"a,b\n1,2\n")), ""),
        ("data.tar.gz", gzip.compress(tarred(("data/a.txt", b"hello"))), ""),
        ("song.mp3", b"ID3\x04" + bytes(90), ""),
        ("a.html", b"<html><p>hello</p></html>", ""),
        ("read.me", b"<job> is what I am looking for", "script"),  # a tag is a tag
    ],
)
def test_the_content_says_what_a_file_is_and_the_name_what_would_be_done_with_it(
    name: str, content: bytes, group: str
) -> None:
    assert what((name, content)) == group


@pytest.mark.parametrize("kind", ["image/png", "text/plain; name=x", "application/pdf", "message/rfc822x", "x"])
def test_content_type_makes_no_difference(kind: str) -> None:
    found = run(attachment_type.CHECK, with_files(("logo.png", PE), kind=kind))
    assert found is not None and found.seen == {"what": "program", "kind": "pe", "name": "logo.png", "count": 1}


def test_a_picture_shown_in_the_text_is_a_file_too() -> None:
    raw = b"Content-Type: image/png\r\nContent-ID: <a>\r\nContent-Disposition: inline\r\n\r\n" + PE
    assert run(attachment_type.CHECK, Message.parse(raw)) is not None


def uuencoded(name: str, content: bytes) -> str:
    lines = [binascii.b2a_uu(content[at : at + 45], backtick=True).decode() for at in range(0, len(content), 45)]
    return f"begin 644 {name}\n{''.join(lines)}`\nend\n"


@pytest.mark.parametrize("cte", ["8bit", "base64", "quoted-printable"])
def test_a_uuencoded_file_in_the_text_is_a_file_too(cte: str) -> None:
    def one(text: str) -> Evidence | None:
        octets = text.replace("\n", "\r\n").encode()
        octets = {"base64": base64.encodebytes, "quoted-printable": binascii.b2a_qp}.get(cte, bytes)(octets)
        head = f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {cte}\r\n\r\n".encode()
        return run(attachment_type.CHECK, Message.parse(head + octets))

    found = one("See the file:\n\n" + uuencoded("invoice.exe", PE * 3) + "\nAnn\n")
    assert found is not None and found.seen == {"what": "program", "kind": "pe", "name": "invoice.exe", "count": 1}
    assert one(uuencoded("x.zip", zipped(("a.js", b"alert(1)")))).seen["inside"] == "x.zip"  # type: ignore[union-attr]
    assert one("Hello\n" + uuencoded("x.exe", PE * 3)[:150]) is not None  # cut off
    assert one(uuencoded("a.txt", b"one") + uuencoded("b.bat", b"@echo off\n")) is not None
    for honest in (
        uuencoded("notes.txt", b"hello"),
        uuencoded("plan.pdf", PDF),
        "begin 644 numbers of pages\n\nbegin 2026 with us\n",
        "We begin 644 projects a year.\nbegin 100 a.exe\n\nAnn\n",
        "begin 100 a.exe\nANN\nWHAT A DAY\n\nend\n",
    ):
        assert one(honest) is None


def test_a_uuencoded_file_is_found_in_a_large_message_too() -> None:
    text = "a line\n" * 100 + uuencoded("invoice.exe", PE * 3)
    raw = b"Content-Type: text/plain\r\n\r\n" + text.replace("\n", "\r\n").encode()
    with mmap.mmap(-1, len(raw)) as mapped:  # as it comes from a file
        mapped.write(raw)
        assert run(attachment_type.CHECK, Message.parse(mapped)) is not None


def test_many_beginnings_of_uuencoded_files_cost_little() -> None:
    for text in (b"begin 644 a\n" * 9000, b"begin 644 a\n" + b"M" * 100_000, b"begin 644 a\n#aaaa\n" * 5000):
        message = Message.parse(b"Content-Type: text/plain\r\n\r\n" + text.replace(b"\n", b"\r\n"))
        began = process_time()
        run(attachment_type.CHECK, message)
        assert process_time() - began < 0.5


def test_contradictory_headers_are_taken_as_the_parser_takes_them() -> None:
    raw = (
        b"Content-Type: text/plain\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: 8bit\r\n"
        b"Content-Disposition: attachment; filename=a.txt; filename=b.exe\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + ELF
    )
    assert run(attachment_type.CHECK, Message.parse(raw)) is not None


# -- archives ------------------------------------------------------------------------------------
SEVEN = {
    "plain": "N3q8ryccAAR4OGrtdgAAAAAAAAAgAAAAAAAAANbFv68BAAhoaQpoZWxsbwoAAACBMweuD86xsaEJKq7TqoUmKBP7lbRiEkcuu6oBUZScgqPMnG"
    "PQQIPaPpuNCzTAoyfVSz/o9MsegxuNf/k6UB5Tc5BsbYYLAACj68EJjuTd3WmvhfqEPY/E2LFU14/GoUpMhjJHAAAAFwYNAQlpAAcLAQABIwMB"
    "AQVdABAAAAx+CgGySPfkAAA=",
    "data": "N3q8ryccAASpHGSFEAAAAAAAAABqAAAAAAAAAHmIb/gVFQYLzhnS8X6jp5HvEeP6AQQGAAEJEAAHCwEAAiQG8QcBElMPsGDt0jbF70XYkyAour"
    "pkfCEhAQABAAwHAwAICgF6em/tAAAFARkBABEVAG4AbwB0AGUAcwAuAHQAeAB0AAAAFAoBAOS0grkjet0BFQYBACCApIEAAA==",
    "head": "N3q8ryccAASWEfzsgAAAAAAAAAAuAAAAAAAAAFZgDIdk8CRv2dorxfI+esFE3qdp3I8QcuZqwzRpYdw54nayr41dF4uShkpU9isi7GbpuP78sB"
    "2p1OD2XmrfzpYYm4r0wgDBOnvjxYUZ1Hbe+QBysHrpU0WOoBg4RNzX4iuRXsdMUHO29PMv3EgwWqPkHc6886KMhaHcmf5zbGzQJJrIdRcGEAEJ"
    "cAAHCwEAASQG8QcBElMPd5py+v5tVmfNdilYymp1aAxqCgHjRpCgAAA=",
}
"""Of 7-Zip: setup.exe and notes.txt; notes.txt with a password; with its name behind the password too."""


def seven(name: str) -> bytes:
    return base64.b64decode(SEVEN[name])


def rar4(name: bytes, content: bytes = b"x", flags: int = 0x8000, main: int = 0) -> bytes:
    head = struct.pack("<LLBLLBBHL", len(content), len(content), 2, 0, 0, 29, 0x30, len(name), 32) + name
    block = struct.pack("<HBHH", 0, 0x74, flags, 7 + len(head)) + head + content
    return b"Rar!\x1a\x07\x00" + struct.pack("<HBHH", 0, 0x73, main, 13) + bytes(6) + block


def rar5(name: bytes, content: bytes = b"x", extra: bytes = b"", kind: int = 2) -> bytes:
    own = bytes([kind, 3, len(extra), len(content)]) + bytes([0, len(content), 0, 0, 0, len(name)]) + name + extra
    return b"Rar!\x1a\x07\x01\x00" + bytes(4) + bytes([3, 1, 0, 0]) + bytes(4) + bytes([len(own)]) + own + content


@pytest.mark.parametrize(
    ("content", "group", "inside"),
    [
        (zipped(("a/b/setup.txt", PE)), "program", "box"),
        (zipped(("setup.txt", PE), method=zipfile.ZIP_STORED), "program", "box"),
        (zipped(("setup.txt", PE), method=zipfile.ZIP_BZIP2), "program", "box"),
        (b"\r\n" + zipped(("setup.txt", PE)), "program", "box"),
        (b"GIF89a\1\0\1\0" + zipped(("setup.txt", PE)), "program", "box"),
        (b"<html><p>Hello</p>" + zipped(("setup.txt", PE)) + b"\0" * 100, "program", "box"),
        (b"\0" + zipped(*DOCX, ("word/vbaProject.bin", OLE)), "macros", ""),
        (b"\r\n" + zipped(("a.txt", b"x")), "", ""),
        (b"The end is marked by PK\5\6 and twenty-two octets more", "", ""),
        (tarred(("setup.txt", PE)), "program", "box"),
        (tarred(("x" * 200, PE), form=tarfile.GNU_FORMAT), "program", "box"),
        (gzip.compress(PE), "program", "box"),
        (bz2.compress(PE), "program", "box"),
        (lzma.compress(PE), "program", "box"),
        (gzip.compress(b"x" * 99) + gzip.compress(tarred(("a", PE))), "", ""),  # one file of two pieces is no tar
        (gzip.compress(tarred(("setup.txt", PE))), "program", "box/box"),
        (zipped(("notes.js", b"alert(1)")), "script", "box"),
        (zipped(("invoice\u202efdp.txt", b"x")), "reversed-name", "box"),
        (zipped(("letter.docm", zipped(*DOCX, ("word/vbaProject.bin", OLE)))), "macros", "box"),
        (zipped(*DOCX, ("word/embeddings/oleObject1.bin", PE)), "program", "box"),
        (zipped(("inner.zip", zipped(("a.txt", b"x")))), "nested", "box"),
        (zipped(("inner.tgz", gzip.compress(tarred(("a", b"x"))))), "nested", "box"),
        (seven("plain"), "program", "box"),
        (seven("data"), "encrypted", ""),
        (seven("head"), "encrypted", ""),
        (rar4(b"setup.exe", b"\0\1\2"), "program", "box"),
        (rar4(b"notes", PE), "program", "box"),
        (rar4(b"a.txt", flags=0x8004), "encrypted", ""),
        (rar4(b"a.txt", main=0x80), "encrypted", ""),
        (rar5(b"notes", PE), "program", "box"),
        (rar5(b"run.bat"), "script", "box"),
        (rar5(b"a.txt", extra=b"\x02\x01\x00"), "encrypted", ""),
        (rar5(b"a.txt", kind=4), "encrypted", ""),
        (rar5(b"a.txt"), "", ""),
        (rar4(b"a.txt"), "", ""),
        (zipped(("letter.docx", zipped(*DOCX))), "", ""),
        (zipped(("a.txt", b"x"), ("b.csv", b"a,b")), "", ""),
    ],
)
def test_archives_are_looked_into(content: bytes, group: str, inside: str) -> None:
    found = run(attachment_type.CHECK, with_files(("box", content)))
    assert (found.seen["what"] if found else "", found.seen.get("inside", "") if found else "") == (group, inside)


def test_a_large_zip_file_is_opened_whatever_stands_before_it() -> None:
    large = b"\r\n" + zipped(("pad.bin", random.Random(1).randbytes(files.MOST_READ)), ("setup.txt", PE))
    assert what(("box.zip", large)) == "program"


def encrypted() -> bytes:
    """The flag of section 4.4.4 in both headers."""
    raw = bytearray(zipped(("a.txt", b"hello")))
    raw[6] |= 1
    raw[raw.index(b"PK\1\2") + 8] |= 1
    return bytes(raw)


def with_method(method: int) -> bytes:
    raw = bytearray(zipped(("setup.js", b"hello " * 99), ("a.txt", b"x")))
    struct.pack_into("<H", raw, 8, method)
    struct.pack_into("<H", raw, raw.index(b"PK\1\2") + 10, method)
    return bytes(raw)


def test_an_archive_with_a_password() -> None:
    assert what(("a.zip", encrypted())) == "encrypted"
    assert what(("a.zip", zipped(("b.zip", encrypted()))), depth=2) == "encrypted"
    assert what(("a.zip", encrypted()), allow=["encrypted"]) == ""


@pytest.mark.parametrize("method", [9, 14, 93, 98, 77])
def test_what_cannot_be_unpacked_is_judged_by_its_names(method: int) -> None:
    """deflate64, lzma, zstd, ppmd, and what nobody knows"""
    raw = with_method(method)
    assert what(("a.zip", raw)) == "script"
    assert what(("a.zip", raw), allow=["script"]) == "unopened"
    assert what(("a.zip", raw), allow=["script", "unopened"]) == ""


def test_how_deep_archives_may_be() -> None:
    content = zipped(("a.txt", b"x"))
    boxes = [content]
    for _ in range(7):
        boxes.append(zipped(("box.zip", boxes[-1])))
    assert [what(("a.zip", box)) for box in boxes[:3]] == ["", "nested", "nested"]
    assert [what(("a.zip", box), depth=2) for box in boxes[:4]] == ["", "", "nested", "nested"]
    assert what(("a.zip", boxes[7]), depth=4) == "nested", "and what is too deep to open is found all the same"
    hidden = PE
    for _ in range(3):
        hidden = zipped(("box.zip", hidden))
    assert what(("a.zip", hidden), depth=4) == "program"


def test_a_message_in_a_message() -> None:
    inner = with_files(("a.txt", PE)).raw
    assert what(("forwarded.eml", bytes(inner))) == "program"
    raw = b"Content-Type: message/rfc822\r\n\r\n" + bytes(inner)
    assert run(attachment_type.CHECK, Message.parse(raw)) is not None
    for _ in range(50):
        raw = b"Content-Type: message/rfc822\r\n\r\n" + raw
    assert run(attachment_type.CHECK, Message.parse(raw)) is None, "deeper than anybody looks; no crash"
    raw = b"Content-Type: message/partial; id=x; number=1; total=2\r\n\r\nPE"
    assert run(attachment_type.CHECK, Message.parse(raw)).seen["what"] == "fragment"  # type: ignore[union-attr]


def test_what_the_policy_allows() -> None:
    assert what(("a", PE), allow=["program"]) == ""
    assert what(("a.cab", b"MSCF\0\0\0\0" + bytes(40))) == ""
    assert what(("a.cab", b"MSCF\0\0\0\0" + bytes(40)), allow=[]) == "unopened"
    assert what(("a.zip", b"PK\3\4" + bytes(40)), allow=[]) == "damaged"


# -- hostile archives ---------------------------------------------------------------------------
class Clock:
    """Seconds that pass with each look."""

    def __init__(self, step: float) -> None:
        self.now, self.step, self.looks = 0.0, step, 0

    def __call__(self) -> float:
        self.looks += 1
        self.now += self.step
        return self.now


def overlapping(count: int = 200) -> bytes:
    """Many entries, one content."""
    raw = zipped(("0", bytes(1 << 20)))
    start = raw.index(b"PK\1\2")
    end = raw.index(b"PK\5\6")
    entries = b"".join(raw[start : end - 1] + b"%d" % (i % 10) for i in range(count))
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, min(count, 65535), min(count, 65535), len(entries), start, 0)
    return raw[:start] + entries + tail


def lying(says: int) -> bytes:
    """The entry says that it is smaller than it is."""
    raw = bytearray(zipped(("a.txt", b"x" * 100_000)))
    struct.pack_into("<L", raw, 22, says)
    struct.pack_into("<L", raw, raw.index(b"PK\1\2") + 24, says)
    return bytes(raw)


def zeros(mebibytes: int) -> bytes:
    """A gzip file of so many MiB of zeros, made without having them."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(1 << 20)
    return b"".join([squeeze.compress(block) for _ in range(mebibytes)]) + squeeze.flush()


GZIP_BOMB = zeros(160)


def big_claim() -> bytes:
    raw = bytearray(zipped(("a.txt", b"x" * 1000)))
    struct.pack_into("<L", raw, raw.index(b"PK\1\2") + 24, 0xFFFFFFF0)
    return bytes(raw)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (overlapping(), archive.OVERLAP),
        (overlapping(70_000), archive.MANY),
        (lying(10), archive.LIES),
        (big_claim(), archive.GROWS),
        (GZIP_BOMB, archive.GROWS),
        (zipped(("a", b"x")) + zipped(("b", b"y")), archive.SECOND),
    ],
)
def test_bombs_and_lies(content: bytes, why: str) -> None:
    found = run(attachment_type.CHECK, with_files(("a.zip", content)))
    assert found is not None
    assert (found.seen["what"], found.seen["why"]) == ("bomb", why)


@pytest.mark.parametrize(
    "content",
    [
        zipped(*((f"{i}.txt", b"hello") for i in range(300))),
        zipped(("big.csv", b"1,2,3,4\n" * 2_000_000)),  # 16 MB in 30 KB: a large table, no bomb
        b"self-extractor stub" + zipped(("a.txt", b"x")),
        zipped(("a.txt", b"x")) + b"\0" * 100,
        zipped(),
        zipped(("folder/", b""), ("folder/a.txt", b"x")),
    ],
)
def test_honest_archives_are_no_bombs(content: bytes) -> None:
    assert what(("a.zip", content)) == ""


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("make", [zipped, tarred, lambda m: gzip.compress(m[1]), lambda m: lzma.compress(m[1])])
def test_a_damaged_archive_is_no_finding(make: Callable[..., bytes], cut: float) -> None:
    whole = make(("a.txt", random.Random(1).randbytes(5000)))
    assert what(("a.bin", whole[: int(len(whole) * cut)])) in ("", "script")
    found = files.look(with_files(("a.bin", whole[: int(len(whole) * cut)])), files.nobody_waits)
    assert found.unread or found.found or cut > 0.9 or make is tarred


def test_the_time_is_bounded_and_over_it_is_an_outage() -> None:
    """Whatever a hostile archive holds, the work ends at the next look after its time is up."""

    async def look(content: bytes) -> str:
        threads = Threads(2.0, clock=(clock := Clock(0.1)))
        tools = Tools(None, None, None, lists=Listed(), aside=threads)  # type: ignore[arg-type]
        it = mail(with_files(("a.zip", content)))
        try:
            for check in (attachment_type, contact_list):
                with pytest.raises(Unavailable, match=r"the attachments: took longer than 2 s"):
                    await check.run(it, check.CHECK.settings(), tools)
            assert 20 <= clock.looks <= 22, "and the second check does not begin anew"
        finally:
            threads.close()
        return "late"

    for content in (
        zipped(*((f"{i}", b"x") for i in range(100))),
        GZIP_BOMB,
        zipped(("a", random.Random(1).randbytes(3 << 20))),
    ):
        assert asyncio.run(look(content)) == "late"


def test_long_work_is_not_done_on_the_loop_and_short_work_is() -> None:
    class Watched(Threads):
        used = 0

        async def run(self, tenant: str, work: Any) -> Any:
            self.used += 1
            return await super().run(tenant, work)

    async def look(message: Message) -> int:
        aside = Watched(5.0)
        try:
            tools = Tools(None, None, None, lists=Listed(), aside=aside)  # type: ignore[arg-type]
            await attachment_type.run(mail(message), attachment_type.Settings(), tools)
            return aside.used
        finally:
            aside.close()

    assert asyncio.run(look(with_files(("a.txt", b"hello")))) == 0
    assert asyncio.run(look(with_files(("a.txt", b"hello " * 10_000)))) == 1
    assert asyncio.run(look(with_files(("a.zip", zipped(("a", b"x")))))) == 1
    assert asyncio.run(look(with_files())) == 0


async def test_one_tenant_does_not_take_all_threads() -> None:
    threads = Threads(60.0, threads=2)
    entered, release = threading.Event(), threading.Event()

    def hangs(late: Any) -> str:
        entered.set()
        release.wait(30)
        return "slow"

    slow = [asyncio.create_task(threads.run("one", hangs)) for _ in range(3)]
    await asyncio.to_thread(entered.wait, 30)
    assert await asyncio.wait_for(threads.run("two", lambda late: "quick"), 30) == "quick"
    assert not any(task.done() for task in slow)
    release.set()
    assert await asyncio.gather(*slow) == ["slow"] * 3
    threads.close()


async def test_work_that_nobody_waits_for_ends() -> None:
    threads = Threads(60.0)
    ended, begun = threading.Event(), threading.Event()

    def works(late: Any) -> None:
        try:
            while True:
                begun.set()
                late()
        finally:
            ended.set()

    task = asyncio.create_task(threads.run("one", works))
    await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(ended.wait, 30)
    threads.close()


# -- attachment-listed ---------------------------------------------------------------------------
@pytest.mark.parametrize("of", [hashlib.sha256, hashlib.md5])
@pytest.mark.parametrize("size", [10, 700_001])
def test_a_listed_file_is_found_by_its_digest_and_also_in_an_archive(of: Any, size: int) -> None:
    content = random.Random(2).randbytes(size)
    digest = of(content).hexdigest()
    for name, held in (("a.bin", content), ("a.zip", zipped(("x/a.bin", content)))):
        found = run(attachment_listed.CHECK, with_files(("b.txt", b"x"), (name, held)), Listed(digest))
        assert found is not None and found.seen["digest"] == digest
    assert run(attachment_listed.CHECK, with_files(("a.bin", content + b"x")), Listed(digest)) is None
    assert run(attachment_listed.CHECK, with_files(("a.bin", content)), Listed()) is None


@pytest.mark.parametrize("cte", ["base64", "quoted-printable", "8bit"])
def test_large_files_are_decoded_in_pieces_as_in_one(cte: str) -> None:
    import binascii

    content = bytes(random.Random(3).choices(range(256) if cte == "base64" else range(32, 127), k=900_000))
    if cte == "8bit":
        content = b"\r\n".join(content[i : i + 76] for i in range(0, len(content), 76))
    coded = {"base64": base64.encodebytes, "quoted-printable": binascii.b2a_qp}.get(cte, lambda c: c)(content)
    raw = f"Content-Type: a/b\r\nContent-Transfer-Encoding: {cte}\r\n\r\n".encode() + coded.replace(
        b"\n", b"\r\n"
    ).replace(b"\r\r", b"\r")
    message = Message.parse(raw)
    [part] = message.parts
    pieces = list(files.decoded(message, part, files.nobody_waits))
    assert len(pieces) > 1
    assert hashlib.sha256(b"".join(pieces)).digest() == hashlib.sha256(message.octets(part, len(raw))).digest()


# -- contact-list ----------------------------------------------------------------------------------
FIRST = [
    "Anna",
    "Bela",
    "Carl",
    "Dora",
    "Emil",
    "Fred",
    "Gina",
    "Hugo",
    "Ines",
    "Jens",
    "Karl",
    "Lena",
    "Mara",
    "Nils",
    "Olga",
    "Paul",
    "Rosa",
    "Sven",
    "Tina",
    "Udo",
]
PEOPLE = [
    (f"{FIRST[i % 20]} Meier{i}", f"{FIRST[i % 20].lower()}.{i}@firm{i}.example", f"+49 30 555{1000 + i}")
    for i in range(40)
]


def csv(delimiter: str = ",", mails: bool = True, phones: bool = True, header: str = "Name{0}E-Mail{0}Phone") -> str:
    rows = [delimiter.join([n, m if mails else "", p if phones else ""]) for n, m, p in PEOPLE]
    return "\r\n".join([header.format(delimiter), *rows])


def xlsx(mails: bool = True, inline: bool = False) -> bytes:
    strings: list[str] = []

    def cell(at: str, text: str) -> str:
        if inline:
            return f'<c r="{at}" t="inlineStr"><is><t>{text}</t></is></c>'
        strings.append(text)
        return f'<c r="{at}" t="s"><v>{len(strings) - 1}</v></c>'

    rows = [f'<row r="1">{cell("A1", "Full name")}{cell("C1", "Mobile")}</row>']
    for i, (name, address, phone) in enumerate(PEOPLE, 2):
        both = cell(f"A{i}", name) + (cell(f"B{i}", address) if mails else "")
        rows.append(f'<row r="{i}">{both}<c r="C{i}"><v>{phone.replace(" ", "").lstrip("+")}</v></c></row>')
    shared = "".join(f"<si><t>{text}</t></si>" for text in strings)
    return zipped(
        *XLSX,
        ("xl/sharedStrings.xml", f"<sst>{shared}</sst>".encode()),
        ("xl/worksheets/sheet1.xml", f"<worksheet><sheetData>{''.join(rows)}</sheetData></worksheet>".encode()),
    )


VCARDS = "\r\n".join(f"BEGIN:VCARD\r\nFN:{n}\r\nTEL;TYPE=cell:{p}\r\nEND:VCARD" for n, _, p in PEOPLE)
AS_JSON = json.dumps([{"firstName": n, "phone": p} for n, _, p in PEOPLE])
MAILS = [m for _, m, _ in PEOPLE]
TABLE = "<table>" + "".join(f"<tr><td>{n}</td><td>{m}</td></tr>" for n, m, _ in PEOPLE) + "</table>"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", csv().encode()),
        ("a.csv", csv(";", phones=False).encode("latin-1")),
        ("a.tsv", csv("\t", mails=False).encode()),
        ("a.csv", csv(mails=False, header="Vorname{0}x{0}Telefonnummer").encode()),
        ("a.csv", csv(mails=False, header="nombre{0}x{0}teléfono móvil").encode()),
        ("a.txt", csv("\t").encode("utf-16")),
        ("a.bin", csv(";", mails=False).encode("utf-16")),
        ("a.xlsx", xlsx()),
        ("a.xlsx", xlsx(mails=False)),
        ("a.xlsx", xlsx(mails=False, inline=True)),
        ("a.vcf", VCARDS.encode()),
        ("a.json", AS_JSON.encode()),
        ("a.json", json.dumps(MAILS).encode()),
        ("a.zip", zipped(("leads.csv", csv().encode()))),
        ("a.zip", zipped(("leads.xlsx", xlsx()))),
        ("a.tgz", gzip.compress(tarred(("leads.csv", csv().encode())))),
        ("a.html", f"<html>{TABLE}</html>".encode()),
        ("a.docx", zipped(*DOCX[:1], ("word/document.xml", "".join(f"<w:t>{m}</w:t>" for m in MAILS).encode()))),
        ("a.ods", zipped(ODT[0], ("content.xml", "".join(f"<text:p>{m}</text:p>" for m in MAILS).encode()))),
        ("a.xls", OLE + "".join(MAILS[:20]).encode("utf-16-le") + "\t".join(MAILS).encode("latin-1")),
        ("a.txt", "\n".join(f"{n} <{m}>" for n, m, _ in PEOPLE).encode()),
        ("a.eml", b"From: x@y.example\n\n" + "\n".join(MAILS).encode()),
    ],
)  # fmt: skip
def test_a_list_of_people_in_a_file(name: str, content: bytes) -> None:
    found = run(contact_list.CHECK, with_files((name, content)))
    assert found is not None and 25 <= found.seen["people"] <= 60, found
    assert found.seen["where"] == "files"
    assert run(contact_list.CHECK, with_files((name, content)), people=100) is None


def test_a_list_of_people_in_the_text() -> None:
    for text in ("\n".join(MAILS), "; ".join(f"{n} {m}" for n, m, _ in PEOPLE)):
        found = run(contact_list.CHECK, with_files(text=text))
        assert found is not None and found.seen == {"people": 40, "addresses": 40, "numbers": 0, "where": "text"}
    page = b"Content-Type: text/html\r\n\r\n" + TABLE.encode()
    assert run(contact_list.CHECK, Message.parse(page)).seen["people"] == 40  # type: ignore[union-attr]
    links = "".join(f'<a href="mailto:{m}?subject=x">{n}</a>' for n, m, _ in PEOPLE)
    page = b"Content-Type: text/html\r\n\r\n" + links.encode()
    assert run(contact_list.CHECK, Message.parse(page)).seen["people"] == 40  # type: ignore[union-attr]


ORDERS = "order,date,customer number,amount,tracking\n" + "\n".join(
    f"{10**8 + i},2026-11-{i % 28 + 1:02},{4911000 + i},9.99,JD0146{10**9 + i}" for i in range(200)
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "\n".join(MAILS[:24]).encode()),
        ("staff.csv", "\n".join(f"p{i}@acme.example,p{i}@mail.acme.example" for i in range(200)).encode()),
        ("orders.csv", ORDERS.encode()),
        ("numbers.csv", ("name,amount\n" + "\n".join(f"x{i},{10**8 + i}" for i in range(200))).encode()),
        ("phones.csv", csv(mails=False, header="a{0}b{0}c").encode()),
        ("phones.csv", csv(mails=False).encode().replace(b"Meier", b"").replace(b"e", b"").replace(b"a", b"1")[:40]),
        ("a.ics", ("BEGIN:VCALENDAR\r\n" + "\r\n".join(f"ATTENDEE:mailto:{m}" for m in MAILS)).encode()),
        ("a.txt", "\n".join(f"<{i}0000000000000.abc@mail{i}.example>" for i in range(200)).encode()),
        ("a.css", "\n".join(f"@media x{i} {{}} a@2x b@{i}" for i in range(200)).encode()),
        ("a.json", json.dumps([{"id": 10**8 + i, "phone_type": "x"} for i in range(200)]).encode()),
        ("a.eml", "\r\n".join(f"Message-ID: <a{i}@x{i}.example>" for i in range(200)).encode() + b"\r\n\r\nhi"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_people(name: str, content: bytes) -> None:
    assert run(contact_list.CHECK, with_files((name, content))) is None


def test_those_who_take_part_do_not_count() -> None:
    to = ", ".join(MAILS[:20])
    raw = f"From: a@acme.example\r\nTo: {to}\r\nCc: {', '.join(m.upper() for m in MAILS[20:])}\r\n\r\n".encode()
    assert run(contact_list.CHECK, Message.parse(raw + "\r\n".join(MAILS).encode())) is None
    other = Message.parse(raw.replace(b"To: ", b"X-To: ") + "\r\n".join(MAILS).encode())
    assert run(contact_list.CHECK, other, people=20) is not None


# -- nothing is too odd ------------------------------------------------------------------------------
ODD = [
    b"", b"\xff\xfe", b"\xfe\xff\xd8", b"PK\3\4", b"PK\5\6" + bytes(18), b"PK\5\6" + b"\xff" * 18, b"Rar!\x1a\x07\x01\x00" + b"\xff" * 60,
    b"Rar!\x1a\x07\x00" + b"\xff" * 60, b"7z\xbc\xaf\x27\x1c" + b"\xff" * 60, b"7z\xbc\xaf\x27\x1c" + bytes(60), b"\x1f\x8b\x08\x04\xff\xff",
    b"\x1f\x8b" * 5000, b"BZh9" * 50, b"\xfd7zXZ\x00" * 50, bytes(257) + b"ustar" + b"\xff" * 900, b"<svg" * 5000, b"@" * 200_000, b"a@b.c" * 50_000,
    b"=" * 200_000, b"<t>" * 50_000, b'<c r="' * 30_000, b'"phone":' * 30_000, b"BEGIN:VCARD\nFN\nTEL:" * 9000, b"name,phone\n" + b"," * 200_000,
    "\ud800\udfff".encode("utf-16", "surrogatepass") * 99, b"\xed\xa0\x80" * 999, b"<!--" * 30_000, b"<?xml " + b">" * 9, b"MZ" + b"\xff" * 62,
]  # fmt: skip


@pytest.mark.parametrize("content", ODD, ids=lambda c: repr(c[:20]))
@pytest.mark.parametrize("wrapped", [False, True])
def test_no_file_is_too_odd_to_be_looked_at(content: bytes, wrapped: bool) -> None:
    if wrapped:
        content = zipped((content[:20].decode("latin-1").strip("\0") or "x", content))
    names = ("a.csv", "a.eml", "\ud800\u202e.exe", "x" * 5000 + "." * 5000, "\0", "a.\r\nb: c")
    for name in names:
        files.look(with_files((name, content)), files.nobody_waits, digests=True)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["zip", "tar", "rar", "7z", "gzip", "bzip2", "xz"]),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=12),
)
@example("zip", [(20, 255), (21, 255)])
def test_broken_archives_end_in_a_defect_and_never_in_an_exception(kind: str, changes: list[tuple[int, int]]) -> None:
    whole = bytearray(
        {
            "zip": lambda: zipped(("a.txt", b"hello" * 9), ("b.zip", zipped(("c", b"x")))),
            "tar": lambda: tarred(("a.txt", b"hello" * 9), ("n" * 150, b"x")),
            "rar": lambda: rar5(b"a.txt", b"hello"),
            "7z": lambda: seven("plain"),
            "gzip": lambda: gzip.compress(b"hello" * 99, mtime=0),
            "bzip2": lambda: bz2.compress(b"hello" * 99),
            "xz": lambda: lzma.compress(b"hello" * 99),
        }[kind]()
    )
    for at, value in changes:
        whole[at % len(whole)] = value
    files.look(with_files(("a", bytes(whole))), files.nobody_waits)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000))
def test_kinds_and_people_of_anything(content: bytes) -> None:
    assert isinstance(filetype.kind_of(content, content[-512:]), str)
    people = People()
    people.text(content, files.nobody_waits)
    assert all("@" in address for address in people.addresses)


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_names_of_anything(name: str) -> None:
    filetype.extensions(name)
    filetype.kind_by_name(name, "text")
    filetype.two_extensions(name)


def test_all_of_them_are_in_the_order_of_the_catalogue() -> None:
    from relay.checks.catalogue import NAMES

    mine = ("active-content", "attachment-type", "attachment-listed", "malware", "spam-score", "contact-list")
    order = [check.name for check in CHECKS if check.name in mine]
    assert order == [name for name in NAMES if name in mine]
