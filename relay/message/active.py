"""What in HTML or SVG does something by itself, or asks for input: scripts, handlers, forms, frames, objects.

First a look at the octets that costs some microseconds; only what could be active is parsed, by the same
parser as the visible text, since what a browser makes of markup only a browser's rules can tell.

What is active, in words that stand in evidence:

    script         a script that runs; data for readers of mail (JSON-LD) is none
    event-handler  onload=, onclick= and the like
    script-url     javascript:, vbscript: or data:text/html where an address stands
    form           a form that is sent somewhere
    password-field, file-field
    frame          iframe, frame
    object         object, embed, applet
    refresh        a meta refresh that leads to another page

An AMP part has rules of its own (amp.dev, AMP for Email format): scripts from cdn.ampproject.org and data for
them, and forms with action-xhr are what it is made of; all else is found there too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import turbohtml

from relay.message.html import MOST_ATTRIBUTES, MOST_HTML, MOST_TAGS, Link

KINDS = ("script", "event-handler", "script-url", "form", "password-field", "file-field", "frame", "object", "refresh")

# On octets in lower case; each begins with characters that are searched for quickly.
_TAGS = re.compile(
    rb"<(?:script|iframe|frame[\s>/]|form[\s>/]|object|embed|applet|input[^<>]{0,500}?(?:password|file)"
    rb"|meta[^<>]{0,300}?refresh)"
)
_JSON_LD = re.compile(rb"""<script\s+type\s*=\s*["']?application/ld\+json["']?\s*>""")
_HANDLER = re.compile(rb"""on(?<=[\s"'/]on)[a-z]{3,26}\s*=""")
_EVENTS = frozenset(
    """
    abort afterprint animationcancel animationend animationiteration animationstart auxclick beforecopy beforecut
    beforeinput beforematch beforepaste beforeprint beforetoggle beforeunload begin blur cancel canplay canplaythrough
    change click close contextmenu copy cuechange cut dblclick drag dragend dragenter dragexit dragleave dragover
    dragstart drop durationchange emptied end ended error finish focus focusin focusout formdata fullscreenchange
    gotpointercapture hashchange input invalid keydown keypress keyup languagechange load loadeddata loadedmetadata
    loadend loadstart lostpointercapture message mousedown mouseenter mouseleave mousemove mouseout mouseover mouseup
    mousewheel pagehide pageshow paste pause play playing pointercancel pointerdown pointerenter pointerleave
    pointermove pointerout pointerover pointerrawupdate pointerup popstate progress propertychange ratechange
    readystatechange repeat reset resize scroll scrollend search securitypolicyviolation seeked seeking select
    selectionchange selectstart show slotchange stalled start storage submit suspend timeupdate toggle touchcancel
    touchend touchmove touchstart transitioncancel transitionend transitionrun transitionstart unhandledrejection
    unload volumechange waiting webkitanimationend webkitanimationiteration webkitanimationstart webkittransitionend
    wheel zoom
    """.split()  # noqa: SIM905 - a list of them is not more readable
)

_USUAL = frozenset(["", *"hHmMtTwW#/{*%[?."])
"""First characters of addresses that are no script: https, mailto, tel, www, fragments, paths, merge tags."""
_SCRIPTS = ("javascript:", "vbscript:", "livescript:", "data:text/html", "data:application/xhtml")
_UNSEEN = re.compile(r"[\x00-\x20\x7f-\xa0]+")
_DOES_NOTHING = re.compile(r"javascript:(?:void\(?[0-9]?\)?|false|undefined|null|return(?:false|true)?|//)?;*\Z")


def suspect(source: str, acts: bool = True) -> bool:
    """Whether it is worth parsing.  acts: as in html.TextPart, where it was parsed before."""
    low = source.encode("latin-1", "replace").lower()  # what is not ASCII makes no difference
    # Where scripts run, what stands in a noscript is no markup, and other things are.
    found = _TAGS.search(low) if acts or b"<noscript" in low else None
    if found and (not found[0].startswith(b"<script") or _TAGS.search(_JSON_LD.sub(b"", low))):
        return True
    return _HANDLER.search(low) is not None or b"script:" in low


def script_links(links: Iterable[Link]) -> bool:
    """Some address, as the parser read it, runs a script: entities and white space hide nothing from it."""
    for link in links:  # noqa: SIM110 - a generator takes three times as long
        if link[0][:1] not in _USUAL and _runs(link[0]):
            return True
    return False


def _runs(address: str) -> bool:
    if ":" not in address:
        return False
    bare = _UNSEEN.sub("", address[:2000]).lower()
    return bare.startswith(_SCRIPTS) and not _DOES_NOTHING.match(bare)


_RUNS = re.compile(r"javascript|ecmascript|jscript|livescript|vbscript")
_SELECTED = "script,iframe,frame,form,object,embed,applet,input,meta"


def active(source: str, amp: bool = False) -> tuple[str, ...]:
    """What is active in it, each kind once, in the order of KINDS.  Up to the bounds of visible text."""
    # Half a surrogate pair in a name is more than the parser can tell of.
    source = source[:MOST_HTML].encode("utf-8", "replace").decode("utf-8")
    if source.count("<") > 2 * MOST_TAGS or _crowded(source):
        return _unparsed(source)
    found = _found(source, amp)
    if "<noscript" in source.lower():
        # Where scripts run, what stands in a noscript is no markup: then it ends elsewhere.
        found |= _found(_NOSCRIPT.sub(r"\1xmp", source), amp)
    return tuple(kind for kind in KINDS if kind in found)


_NOSCRIPT = re.compile(r"(</?)noscript", re.IGNORECASE)


def _found(source: str, amp: bool) -> set[str]:
    document = turbohtml.parse(source, positions=False)
    found = {what for element in document.select(_SELECTED) if (what := _of_element(element, amp))}
    if "=" in source and (amp or _acts(source)):
        for element in document.select("*"):
            found |= _of_attributes(element)
    return found


def _acts(source: str) -> bool:
    low = source.encode("latin-1", "replace").lower()
    return _HANDLER.search(low) is not None or b"script:" in low or b"data:" in low or b"&" in low


def _crowded(source: str) -> bool:
    """More attributes in one place than the parser takes in good time."""
    return len(source) > MOST_ATTRIBUTES and any(
        len(run) > MOST_ATTRIBUTES and sum(map(run.count, " \n\t\r\f/\"'")) > MOST_ATTRIBUTES
        for run in source.split(">")
    )


def _unparsed(source: str) -> tuple[str, ...]:
    """Too much markup for the parser: a script tag is one all the same."""
    return ("script",) if "<script" in source[:MOST_HTML].lower() else ()


def _of_element(element: Any, amp: bool) -> str:
    name = element.tag.lower()
    if name == "script":
        kind = _value(element, "type").partition(";")[0].strip().lower()
        if kind not in ("", "module") and not _RUNS.search(kind):
            return ""  # a data block (HTML Living Standard, section 4.12.1)
        address = _value(element, "src").strip()
        if amp and address.startswith("https://cdn.ampproject.org/"):
            return ""
        if not amp and not address and not element.text.strip() and element.attr("href") is None:
            return _svg_address(element)
        return "script"
    if name in ("iframe", "frame"):
        return "frame"
    if name == "form":
        return "" if amp and element.attr("action-xhr") is not None and element.attr("action") is None else "form"
    if name == "input":
        kind = _value(element, "type").strip().lower()
        return f"{kind}-field" if kind in ("password", "file") else ""
    if name == "meta":
        leads = "url" in _value(element, "content").lower()
        return "refresh" if leads and _value(element, "http-equiv").strip().lower() == "refresh" else ""
    return "object"


def _svg_address(element: Any) -> str:
    return "script" if element.attr("xlink:href") is not None else ""


def _of_attributes(element: Any) -> set[str]:
    found = set()
    for name, value in element.attrs.items():
        if not isinstance(value, str) or not value:
            continue
        low = name.lower()
        if low.startswith("on") and low[2:] in _EVENTS:
            if not _DOES_NOTHING.match("javascript:" + _UNSEEN.sub("", value[:100]).lower()):
                found.add("event-handler")
        elif ":" in value and _runs(value):
            found.add("script-url")
    return found


def _value(element: Any, name: str) -> str:
    value = element.attr(name)
    return value if isinstance(value, str) else ""
