"""A file is of a kind that harms or hides, by its content and not by what its name or Content-Type says.

    program             Windows, Linux and macOS programs, Java, Android, installers, Flash
    script              by its first octets, or text with a name that is run when it is opened (.js, .vbs, .bat)
    shortcut            .lnk, .url, .desktop, .rdp, .iqy
    disk-image          ISO, VHD, VHDX, DMG, VMDK, WIM
    macros              an Office document with VBA, old macro sheets (SYLK too) or Basic
    encrypted           an archive with a password
    nested              an archive inside more archives than `depth` allows
    bomb                an archive that grows out of proportion, whose entries overlap, or that hides another
    double-extension    invoice.pdf.exe
    reversed-name       a name with a direction override, which is shown backwards
    fragment            a piece of a message (message/partial), put together only by the reader
    damaged, unopened, encrypted-document
                        archives that cannot be read or that nothing here opens, and documents with a
                        password: allowed unless the policy says otherwise

ZIP, tar, gzip, bzip2 and xz are opened, within bounds of depth, entries, growth and time; documents, messages and
archives inside them are looked at too.  7z and rar (4 and 5) are judged by the names in them and not by what
these files hold; cab, zstd, lzh, arj, ace and the like by their own name alone: who wants none of them takes
`unopened` out of `allow`.  An archive of too much to look at is no finding by itself.  A uuencoded file in the
plain text is a file like any other.

Reply:     554 5.7.0; 451 4.3.0 where looking took longer than `limits.check_time`
Evidence:  what (of the above), kind (pe, zip, ...), name, inside (the archives it is in), why, count (of
           findings)
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from relay import replies
from relay.checks.attachments import files_of
from relay.checks.check import Check, CheckSettings
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools

What = Literal[
    "program",
    "script",
    "shortcut",
    "disk-image",
    "macros",
    "encrypted",
    "nested",
    "bomb",
    "double-extension",
    "reversed-name",
    "fragment",
    "damaged",
    "unopened",
    "encrypted-document",
]


class Settings(CheckSettings):
    """
    allow  what is no finding
    depth  archives that a file may be in, one in the other; 1: no archive in an archive
    """

    allow: list[What] = Field(default=["damaged", "unopened", "encrypted-document"])
    depth: int = Field(default=1, ge=1, le=4)


async def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    files = await files_of(mail, tools)
    if files is None or not files.found:
        return None
    found = [
        one
        for one in files.found
        if one.what not in settings.allow and not (one.what == "nested" and one.depth < settings.depth)
    ]
    if not found:
        return None
    first = found[0]
    seen: dict[str, str | int | float | bool] = {"what": first.what, "kind": first.kind, "name": first.name}
    if first.inside:
        seen["inside"] = first.inside
    if first.why:
        seen["why"] = first.why
    return Evidence({**seen, "count": len(found)})


CHECK = Check(
    name="attachment-type",
    stages=(Stage.MESSAGE,),
    reply=replies.BAD_ATTACHMENT,
    run=run,
    remedy=(
        "Put the file on a page of yours and link to it, or send it as a plain document: no programs, scripts, macros,"
        " disk images, and no archives with a password or with archives in them."
    ),
    settings=Settings,
)
