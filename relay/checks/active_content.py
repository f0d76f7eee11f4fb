"""HTML, or an attached HTML or SVG file, does something by itself or asks for input.

    script          a script that runs (data for readers of mail, JSON-LD, is none)
    event-handler   onload=, onclick= and the like
    script-url      javascript:, vbscript: or data:text/html where an address stands
    form            a form; password-field and file-field also without one
    frame           iframe, frame
    object          object, embed, applet
    refresh         a meta refresh that leads to another page

An AMP part (text/x-amp-html) may have what it is made of: scripts from cdn.ampproject.org, data for them,
and forms with action-xhr.

Readers of mail take most of this out, so honest senders have no use for it; what is left of it tells spam
filters that something is wrong.

Reply:     554 5.7.0; 451 4.3.0 where looking took longer than `limits.check_time`
Evidence:  what (of the above, all that were found), part (html, amp, attachment), name (of the file)
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from relay import replies
from relay.checks.attachments import files_of
from relay.checks.check import Check, CheckSettings
from relay.message.active import active, script_links, suspect
from relay.message.header import text_of
from relay.message.html import MOST_HTML, TextPart, of_markup
from relay.message.mime import Message
from relay.model import Evidence, Mail, Stage
from relay.ports import Late, Tools

What = Literal[
    "script", "event-handler", "script-url", "form", "password-field", "file-field", "frame", "object", "refresh"
]
_INLINE = 16 * 1024
"""Characters that are parsed on the loop; more goes to a thread."""


class Settings(CheckSettings):
    """allow   what is no finding"""

    allow: list[What] = Field(default=[])


async def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    message = mail.message
    assert message is not None
    work: list[tuple[str, str]] = []  # (part, source) to be parsed
    for part in message.visible.per_part:
        source = part.source
        if not source:
            continue
        if script_links(part.links) or len(source) > 4 * _INLINE or _suspect(part):
            work.append(("html", source))
    for one in message.parts:
        if one.content_type == "text/x-amp-html" and not one.is_attachment:
            work.append(("amp", text_of(message.octets(one, MOST_HTML), one.charset)[0]))
    if work:
        small = sum(len(source) for _, source in work) <= _INLINE
        if small or tools.aside is None:
            found = _parsed(work, settings)
        else:
            found = await tools.aside.run(mail.tenant.id, lambda late: _parsed(work, settings, late))
        if found is not None:
            return found
    files = await files_of(mail, tools) if _has_files(message) else None
    if files is not None and files.active:
        name = files.active[0][1]
        what = [kind for kind, of in files.active if of == name and kind not in settings.allow]
        if what:
            return Evidence({"what": ", ".join(dict.fromkeys(what)), "part": "attachment", "name": name})
    return None


def _suspect(part: TextPart) -> bool:
    # What differs between pages of one layout, web addresses in quotes and text that is seen, can neither be a script
    # nor hide one.
    return of_markup(part, "suspect", lambda part: suspect(part.source, part.acts))


def _has_files(message: Message) -> bool:
    return any(
        part.is_attachment or part.filename or not part.content_type.startswith("text/") for part in message.parts
    )


def _parsed(work: list[tuple[str, str]], settings: Settings, late: Late = lambda: None) -> Evidence | None:
    for part, source in work:
        late()
        if part == "amp" or len(source) <= 4 * _INLINE or suspect(source):
            found = [what for what in active(source, part == "amp") if what not in settings.allow]
            if found:
                return Evidence({"what": ", ".join(found), "part": part})
    return None


CHECK = Check(
    name="active-content",
    stages=(Stage.MESSAGE,),
    reply=replies.ACTIVE_CONTENT,
    run=run,
    remedy=(
        "Take scripts, forms, frames, embedded objects and attributes such as onclick out of the template; link to"
        " a page of yours that has them."
    ),
    settings=Settings,
)
