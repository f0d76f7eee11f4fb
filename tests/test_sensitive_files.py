"""Health data, payment data and special categories in the files of a message."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import zipfile
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.address import parse
from relay.aside import Threads
from relay.checks import payment_data, phi, special_data
from relay.checks.check import Check
from relay.message import Message, files
from relay.model import Envelope, Evidence, Mail, Recipient, Session, Tenant
from relay.phrases import Phrases
from relay.ports import Tools, Unavailable

PHRASES = Phrases()
PATIENTS = (
    "name,ssn,dob,notes\r\nJohn Roe,123-45-6789,02/29/1980,biopsy: carcinoma\r\nJane Poe,219-09-9998,1/2/1970,hiv\r\n"
)
LETTER = "Dear John, MRN: 00482913. Your biopsy results: carcinoma, see your treatment plan."
CARDS = "Holder;Credit card\nJohn Roe;4929 1234 5670 0111\n"
UNION = "As a member of the trade union you are invited. Your HIV test result is positive."


def with_files(*parts: tuple[str, bytes], text: str = "hello", kind: str = "application/octet-stream") -> Mail:
    lines = [
        b"From: Ann <ann@acme.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=xyz\r\n\r\n"
        b"--xyz\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text.encode()
    ]
    for name, content in parts:
        head = f'Content-Type: {kind}\r\nContent-Disposition: attachment; filename="{name}"\r\n'
        head += "Content-Transfer-Encoding: base64\r\n\r\n"
        lines.append(b"\r\n--xyz\r\n" + head.encode() + base64.encodebytes(content).replace(b"\n", b"\r\n"))
    envelope = Envelope("ref", 0.0, Tenant("acme", "p"), "marketing", parse("ann@acme.example"))
    envelope.recipients = [Recipient(parse("r@x.example"))]
    session = Session("0", "192.0.2.1", "l")
    return Mail(0.0, session, envelope, message=Message.parse(b"".join(lines) + b"\r\n--xyz--\r\n"))


def tools_with(aside: Any) -> Tools:
    nothing: Any = None
    tools = Tools(dns=nothing, authentication=nothing, quotas=nothing, phrases=PHRASES, aside=aside)
    return replace(tools, encrypted=lambda tenant: False)


def run(check: Check, mail: Mail, aside: Any = None, **given: Any) -> Evidence | None:
    tools = tools_with(aside)
    return asyncio.run(check.run(mail, check.settings(**given), tools))  # type: ignore[arg-type]


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name.replace("__", "/").replace("_xml", ".xml").replace("_csv", ".csv"), content)
    return out.getvalue()


def xlsx(rows: list[list[str]]) -> bytes:
    made = []
    for number, row in enumerate(rows, 1):
        cells = [
            f'<c r="{"ABCDEFG"[at]}{number}" t="inlineStr"><is><t>{cell}</t></is></c>' for at, cell in enumerate(row)
        ]
        made.append(f'<row r="{number}">{"".join(cells)}</row>')
    page = f"<worksheet><sheetData>{''.join(made)}</sheetData></worksheet>".encode()
    parts = {"[Content_Types]_xml": b"<Types/>", "xl__workbook_xml": b"<workbook/>"}
    return zipped(**parts, xl__worksheets__sheet1_xml=page)


def docx(*paragraphs: str) -> bytes:
    runs = [f"<w:p><w:r><w:t>{text[:9]}</w:t></w:r><w:r><w:t>{text[9:]}</w:t></w:r></w:p>" for text in paragraphs]
    return word(f"<w:document>{''.join(runs)}</w:document>".encode())


def word(document: bytes) -> bytes:
    return zipped(**{"[Content_Types]_xml": b"<Types/>", "word__document_xml": document})


def odt(text: str) -> bytes:
    kind = b"application/vnd.oasis.opendocument.text"
    return zipped(mimetype=kind, content_xml=f"<x><text:p>{text}</text:p></x>".encode())


ROWS = [line.split(",") for line in PATIENTS.split("\r\n")[:-1]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("patients.csv", PATIENTS.encode()),
        ("patients.csv", PATIENTS.encode("utf-16")),
        ("patients.tsv", PATIENTS.replace(",", "\t").encode()),
        ("patients.json", json.dumps([dict(zip(ROWS[0], row, strict=True)) for row in ROWS[1:]]).encode()),
        ("letter.txt", LETTER.encode()),
        ("letter.html", f"<html><body><p>{LETTER}</p></body></html>".encode()),
        ("letter.docx", docx("A letter", LETTER)),
        ("letter.odt", odt(LETTER)),
        ("patients.xlsx", xlsx(ROWS)),
        ("patients.zip", zipped(patients_csv=PATIENTS.encode())),
        ("patient.vcf", f"BEGIN:VCARD\r\nFN:John Roe\r\nNOTE:{LETTER}\r\nEND:VCARD\r\n".encode()),
        ("mail.eml", f"From: a@x.example\r\nSubject: x\r\n\r\n{LETTER}\r\n".encode()),
    ],
)  # fmt: skip
def test_health_data_of_persons_in_a_file(name: str, content: bytes) -> None:
    found = run(phi.CHECK, with_files((name, content)))
    assert found is not None
    assert found.seen["file"] == {"patients.zip": "patients.csv", "mail.eml": "attached message"}.get(name, name)
    assert not any(number in str(dict(found.seen)) for number in ("00482913", "45-6789"))


def test_a_number_in_one_file_and_a_diagnosis_in_another_or_in_the_text_are_none() -> None:
    number, diagnosis = b"SSN: 123-45-6789", b"carcinoma, biopsy, chemotherapy: what our clinic does"
    assert run(phi.CHECK, with_files(("a.txt", number), ("b.txt", diagnosis))) is None
    assert run(phi.CHECK, with_files(("a.txt", number), text=diagnosis.decode())) is None
    assert run(phi.CHECK, with_files(("a.txt", diagnosis), text=number.decode())) is None
    assert run(phi.CHECK, with_files(("a.txt", number + b" " + diagnosis))) is not None


def test_cards_and_numbers_in_a_file() -> None:
    found = run(payment_data.CHECK, with_files(("cards.csv", CARDS.encode())))
    assert found is not None and found.seen == {
        "found": "card ..11", "count": 1, "file": "cards.csv",
        "lacks": "explicit consent of every recipient and TLS to the next hop",
    }  # fmt: skip
    assert run(payment_data.CHECK, with_files(("o.csv", CARDS.replace("Credit card", "Order number").encode()))) is None
    in_text = run(payment_data.CHECK, with_files(("x.txt", b"nothing"), text="Credit card 4929 1234 5670 0111"))
    assert in_text is not None and "file" not in in_text.seen


def test_special_categories_in_a_file() -> None:
    found = run(special_data.CHECK, with_files(("letter.txt", UNION.encode())))
    assert found is not None and found.seen["file"] == "letter.txt"
    assert run(special_data.CHECK, with_files(("news.txt", b"The trade union met. HIV is a virus."))) is None


def test_files_that_nothing_is_read_in() -> None:
    for name, content in (("a.pdf", b"%PDF-1.4 " + LETTER.encode()), ("a.png", b"\x89PNG\r\n\x1a\n" + LETTER.encode())):
        assert run(phi.CHECK, with_files((name, content))) is None


def test_rows_without_names_of_columns_are_read_as_they_stand() -> None:
    assert run(phi.CHECK, with_files(("rows.csv", b"1,2,MRN: 00482913 carcinoma biopsy\n3,4,5\n"))) is not None


# -- bounds ------------------------------------------------------------------------------------
def test_much_text_is_read_in_a_thread_and_up_to_its_bounds() -> None:
    rows = b"name,ssn\n" + b"".join(b"n%d,%03d-45-6789\n" % (i, i % 600 + 100) for i in range(50_000))
    aside = Threads(2.0)
    found = run(payment_data.CHECK, with_files(*[(f"{i}.csv", rows) for i in range(8)]), aside=aside)
    aside.close()
    assert found is not None and found.seen["count"] <= 600
    looked = files.look(with_files(*[(f"{i}.csv", rows) for i in range(8)]).message, files.nobody_waits)  # type: ignore[arg-type]
    assert all(len(one.text) <= files.MOST_SEEN for one in looked.texts)
    assert sum(len(one.text) for one in looked.texts) <= files.MOST_SEEN_IN_ALL


def test_what_takes_too_long_is_an_outage_for_each_that_asks() -> None:
    mail = with_files(("a.txt", LETTER.encode() * 300))
    aside = Threads(2.0)
    tools = tools_with(aside)

    async def asked() -> None:
        await payment_data.CHECK.run(with_files(("a.txt", b"x")), payment_data.Settings(), tools)  # type: ignore[misc]
        late = tools_with(Threads(-1.0))
        for check in (phi, payment_data, special_data, phi):
            with pytest.raises(Unavailable, match="the attachments: took longer"):
                await check.CHECK.run(mail, check.Settings(), late)  # type: ignore[misc]
        late.aside.close()  # type: ignore[union-attr]

    asyncio.run(asked())
    aside.close()


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00\xd8,\x00;\x00",  # half a surrogate pair
        "\u202e9876-54-321 :NSS\u202c".encode(),
        b"a" * 300_000, b"," * 300_000, b"\n" * 300_000, b"{" * 300_000, b'{"ssn":' * 30_000, b"1" * 300_000,
        b"ssn " * 60_000, b"ssn,ssn\n" + b"1,\n" * 100_000, "\u0130\u034f".encode() * 50_000,
        b"<html>" + b"<a" * 100_000, b"<html>" + b"&#x110000;" * 9_000, "ａｂ１".encode() * 50_000,
        docx("x" * 300_000), docx(*["<w:t>"] * 5_000), word(b"<" * 300_000),
        xlsx([["9" * 2_000] * 7] * 300),
    ],
    ids=lambda content: f"{content[:12]!r}-{len(content)}",
)  # fmt: skip
def test_hostile_files_are_read_within_bounds(content: bytes) -> None:
    for check in (phi, payment_data, special_data):
        found = run(check.CHECK, with_files(("f", content)))
        assert found is None or isinstance(found, Evidence)


@given(st.lists(st.lists(st.text(max_size=8), max_size=4), max_size=6), st.integers(1, 200))
@settings(max_examples=100)
def test_any_rows_make_lines(rows: list[list[str]], most: int) -> None:
    text = files.table(rows, most)
    assert len(text.replace("\n", "")) <= most + 2 * sum(len(cell) + 48 for row in rows for cell in row) + 16


@given(st.binary(max_size=200))
@settings(max_examples=150)
def test_any_file_can_be_read(content: bytes) -> None:
    files.prose(content, files.nobody_waits)
    text = content.decode("utf-8", "replace")
    assert len(files.plain(text, "text")) <= 2 * files.MOST_SEEN
    PHRASES.of_file(text, files.nobody_waits)
