"""What kind of file these octets are, by their content; and what a name would have a machine do with them.

Kinds are short names, and each belongs to at most one group that a policy can forbid:

    program     PE, DOS, ELF, Mach-O, Java, Dalvik, WebAssembly, Flash, installers and packages
    script      what an interpreter runs: by its first octets, or text with a name that is run when it is opened
    shortcut    .lnk, .url, .desktop, .rdp, .iqy and the like: opening them starts, opens or fetches something else
    disk-image  ISO, UDF, VHD, VHDX, DMG, VMDK, QCOW, WIM, FAT, NTFS

Text is recognised as such and no further: nobody runs a script that is called notes.txt.

The signatures are facts from the formats' own descriptions: PE/COFF, System V ABI, Mach-O, JVMS 4.1, [MS-SHLLINK]
2.1, ECMA-119 8.1, ECMA-167, [MS-VHD], [MS-CFB] 2.2, APPNOTE.TXT 4.3, RFC 1952, POSIX ustar.
"""

from __future__ import annotations

import re

HEAD = 64 * 1024
"""Octets of the beginning that are enough to tell: an ISO image has its mark behind 32 KiB."""
TAIL = 512
"""Octets of the end: disk images of two kinds have their mark there."""
ZIP_END = 22 + 65_535
"""Octets of the end in which a zip file's last record begins: its own and those of the longest comment."""

GROUPS = {
    "program": (
        "pe", "dos", "elf", "mach-o", "java-class", "dalvik", "wasm", "flash", "deb", "rpm", "compiled-help", "msi",
        "jar", "apk", "appx", "unknown-program",
    ),
    "script": ("script", "encoded-script", "hta", "script-by-name"),
    "shortcut": ("lnk", "url", "desktop", "rdp", "shortcut-by-name"),
    "disk-image": ("iso", "udf", "vhd", "vhdx", "dmg", "vmdk", "qcow", "wim", "fat", "ntfs"),
}  # fmt: skip
GROUP = {kind: group for group, kinds in GROUPS.items() for kind in kinds}

ARCHIVES = frozenset({"zip", "tar", "gzip", "bzip2", "xz", "7z", "rar"})
UNOPENED = frozenset({"cab", "zstd", "lzh", "arj", "ace", "compress", "lzip", "xar", "tnef"})
"""Archives that are not looked into."""

# What a desktop runs when such a file is opened, whatever stands in it.
_SCRIPTS = frozenset(
    """
    js jse vb vbe vbs ws wsc wsf wsh sct hta bat cmd ps1 ps1xml psc1 psd1 psm1 msh msc reg inf jnlp gadget scpt scptd
    applescript command terminal sh bash csh ksh zsh pyw
    """.split()  # noqa: SIM905 - a list of them is not more readable
)
_SHORTCUTS = frozenset(
    """
    lnk url scf pif desktop rdp library-ms search-ms searchconnector-ms settingcontent-ms appref-ms application website
    webloc fileloc inetloc iqy oqy dqy rqy
    """.split()  # noqa: SIM905
)
_PROGRAMS = frozenset(
    """
    exe com scr cpl dll sys drv ocx msi msp mst xll jar apk app ade adp mde chm
    """.split()  # noqa: SIM905
)
_DOCUMENTS = frozenset(
    """
    pdf doc docx xls xlsx ppt pptx odt ods odp rtf txt csv jpg jpeg png gif bmp tif tiff webp heic svg mp3 mp4 mov avi
    wav htm html eml msg zip
    """.split()  # noqa: SIM905
)

_ZIPPED = frozenset(
    """
    zip docx docm dotx dotm xlsx xlsm xltx xltm xlsb xlam pptx pptm potx potm ppsx ppsm ppam vsdx vsdm odt ods odp odg
    jar apk appx msix xpi epub kmz
    """.split()  # noqa: SIM905
)
"""What a desktop opens as a zip file, whatever it begins with."""

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PK\x07\x08", "zip"),
    (b"%PDF", "pdf"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF8", "gif"),
    (b"\x1f\x8b", "gzip"),
    (_OLE, "ole"),
    *((b"BZh%d" % level, "bzip2") for level in range(1, 10)),
    (b"\xfd7zXZ\x00", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"\x7fELF", "elf"),
    (b"\xfe\xed\xfa\xce", "mach-o"),
    (b"\xfe\xed\xfa\xcf", "mach-o"),
    (b"\xce\xfa\xed\xfe", "mach-o"),
    (b"\xcf\xfa\xed\xfe", "mach-o"),
    (b"dex\n", "dalvik"),
    (b"\x00asm", "wasm"),
    (b"!<arch>\ndebian", "deb"),
    (b"\xed\xab\xee\xdb", "rpm"),
    (b"ITSF", "compiled-help"),
    (b"\x4c\x00\x00\x00\x01\x14\x02\x00", "lnk"),
    (b"conectix", "vhd"),
    (b"vhdxfile", "vhdx"),
    (b"KDMV", "vmdk"),
    (b"# Disk DescriptorFile", "vmdk"),
    (b"QFI\xfb", "qcow"),
    (b"MSWIM\x00\x00\x00", "wim"),
    (b"MSCF\x00\x00\x00\x00", "cab"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x60\xea", "arj"),
    (b"\x1f\x9d", "compress"),
    (b"LZIP", "lzip"),
    (b"xar!", "xar"),
    (b"\x78\x9f\x3e\x22", "tnef"),
    (b"{\\rtf", "rtf"),
    (b"#@~^", "encoded-script"),
)
_FIRST = frozenset(start[0] for start, _ in _STARTS)
_FLASH = re.compile(rb"[FCZ]WS[\x01-\x3f]")
_TAG = re.compile(
    r"\s*(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,2000}?-->\s*)*(?:<!doctype\s{1,9}(html|svg)|<(html|svg|head|body|job|package"
    r"|component|scriptlet)[\s>/?])",
    re.DOTALL,
)
_SCRIPT_TAGS = frozenset({"job", "package", "component", "scriptlet"})
"""Windows Script Files and Components."""


def kind_of(head: bytes, tail: bytes = b"") -> str:
    """The kind of a file from its first HEAD octets and its last TAIL; "text" for text of no kind known here,
    "" for anything else."""
    if not head:
        return "text"
    if head[0] in _FIRST:
        for start, kind in _STARTS:
            if head.startswith(start):
                return kind
    if head[:2] == b"MZ" and b"\x00" in head[2:64]:
        at = int.from_bytes(head[60:64], "little")
        return "pe" if head[at : at + 4] == b"PE\0\0" or at + 4 > len(head) else "dos"
    if head[:4] == b"\xca\xfe\xba\xbe" and len(head) >= 8:
        # A fat Mach-O counts its architectures here; a class file has its version, 45 or more.
        return "java-class" if int.from_bytes(head[4:8], "big") >= 45 else "mach-o"
    if head[257:262] == b"ustar":
        return "tar"
    if head[0x8001:0x8006] == b"CD001":
        return "iso"
    if head[0x8001:0x8006] == b"BEA01":
        return "udf"
    if head[510:512] == b"\x55\xaa" and head[:1] in b"\xeb\xe9":
        if head[3:7] == b"NTFS":
            return "ntfs"
        if b"FAT" in head[38:90]:
            return "fat"
    if tail[-512:-508] == b"koly":
        return "dmg"
    if tail[-512:-504] == b"conectix" or tail[-511:-503] == b"conectix":
        return "vhd"
    if head[2:5] == b"-lh" and head[6:7] == b"-":
        return "lzh"
    if head[7:14] == b"**ACE**":
        return "ace"
    if _FLASH.match(head):
        return "flash"
    return _text_kind(head)


def zip_behind(octets: bytes) -> bool:
    """Whether these octets end as a zip file does: it may have anything before it, and opens all the same."""
    end = octets.rfind(b"PK\5\6", max(0, len(octets) - ZIP_END))
    if end < 0 or len(octets) - end < 22:
        return False
    size = int.from_bytes(octets[end + 12 : end + 16], "little")
    # The directory stands right before; of sizes over 4 GiB another record tells.
    return octets[end - size : end - size + 4] == b"PK\1\2" if 0 < size <= end else size == 0xFFFFFFFF


def _text_kind(head: bytes) -> str:
    text = text_of_head(head)
    if text is None:
        return ""
    start = text[:4096].lstrip("\ufeff \t\r\n").lower()
    if start.startswith("#!") and "/" in start[:80]:
        return "script"
    if start.startswith("[internetshortcut"):
        return "url"
    if start.startswith("[desktop entry]"):
        return "desktop"
    if start.startswith("<"):
        if "<hta:application" in start:
            return "hta"
        if found := _TAG.match(start):
            tag = found[1] or found[2]
            return "svg" if tag == "svg" else "script" if tag in _SCRIPT_TAGS else "html"
        if "<svg" in start:
            return "svg"
        return "xml" if start.startswith("<?xml") else "html" if _LOOSE.search(start) else "text"
    if start.startswith("begin:vcard"):
        return "vcard"
    if start.startswith("full address:s:") or "\nfull address:s:" in start:
        return "rdp"
    return "text"


_LOOSE = re.compile(r"<(?:!doctype html|html|head|body|script|meta|title|div|table|iframe|form|svg)[\s>/]")


def text_of_head(head: bytes) -> str | None:
    """The beginning of a file as text, None where it is none."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return head[: len(head) & ~1].decode("utf-16", "replace")
    if b"\x00" in head[:2048]:
        return None
    probe = head[:2048]
    if len(probe.translate(None, _CONTROLS)) < len(probe):
        return None
    return head.decode("utf-8", "replace")


# A macro sheet says so in its record O, by the field E (SYLK file format); spreadsheets know such a text by its
# beginning, whatever its name.
_SYLK_MACRO = re.compile(rb"^O;(?:[^;\r\n]{0,80};){0,20}?E(?=[;\r\n]|\Z)", re.MULTILINE)


def macro_sheet(octets: bytes) -> bool:
    """Whether a text is a symbolic link file (SYLK) with macros in it."""
    return octets[:3] == b"ID;" and _SYLK_MACRO.search(octets[:HEAD]) is not None


_CONTROLS = bytes(c for c in range(32) if c not in (8, 9, 10, 11, 12, 13, 26, 27))

# Direction overrides: what is written behind them is shown backwards.  Other marks of direction are honest
# in Arabic and Hebrew names.
_OVERRIDES = re.compile("[\u202d\u202e]")
_UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\u00ad\x00-\x1f\x7f]")


def reversed_name(name: str) -> bool:
    """A name that is not shown in the order in which it is written."""
    return _OVERRIDES.search(name) is not None


def extensions(name: str) -> tuple[str, ...]:
    """`Invoice.PDF   .exe. ` -> ("pdf", "exe"): those that a desktop would go by, in lower case."""
    if not name.isascii() or not name.isprintable():
        name = _UNSEEN.sub("", name)
    if len(name) > 300:
        name = name[-300:]
    base = name.replace("\\", "/").rpartition("/")[2].rstrip(". ")
    return tuple(part.strip().lower() for part in base.split(".")[1:][-2:])


def kind_by_name(name: str, kind: str) -> str:
    """The kind of a file whose content is `kind`, where its name has it run; else `kind` again."""
    if kind not in ("", "text", "xml", "html"):
        return kind
    found = extensions(name)
    last = found[-1] if found else ""
    if last in _SCRIPTS:
        return "script-by-name"
    if last in _SHORTCUTS:
        return "shortcut-by-name"
    if last in _PROGRAMS and kind == "":
        return "unknown-program"
    return kind


def named_zip(name: str) -> bool:
    """Whether its name has it opened as a zip file."""
    return bool(name) and not _ZIPPED.isdisjoint(extensions(name)[-1:])


def two_extensions(name: str) -> bool:
    """`invoice.pdf.exe`: a name that looks like a document's and is run."""
    found = extensions(name)
    return len(found) == 2 and found[0] in _DOCUMENTS and found[1] in _SCRIPTS | _SHORTCUTS | _PROGRAMS
