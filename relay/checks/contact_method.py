"""Beside the postal address stands another way to reach the sender: a telephone number, an e-mail address or a
web address (Canada's Electronic Commerce Protection Regulations (CRTC), SOR/2012-36, section 2(1)(d), for CASL
section 6(2)).

Looked for in the text that most readers see and its links, wherever it stands.  The link to unsubscribe is none,
unless it leads to a verified domain of the tenant; a sentence that asks to reply makes the address of From one.

Reply:     554 5.7.0
Evidence:  part (html, plain, none), not_repaired (why the relay cannot mend it)
Repair:    a footer with the contact of the verified profile
"""

from __future__ import annotations

import re

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.mending import missing
from relay.checks.unsubscribe_link import leads_out
from relay.message.html import View
from relay.model import Evidence, Mail, Stage, Tenant
from relay.ports import Tools

_EDGE = 8 * 1024
_LINKS = 300
_LEADS = ("https://", "http://", "mailto:", "tel:", "www.", "sms:", "callto:")
_MAIL = re.compile(r"[^\W_][\w.+-]{0,63}@[\w-]{1,63}\.[\w.-]{2}")
_WEB = re.compile(
    r"\bwww\.[\w-]"
    r"|(?<![@\w.-])[a-z0-9][a-z0-9-]{1,62}\.(?:[a-z]{2,12}\.)?(?:com|org|net|io|co|ai|app|dev|eu|[a-z]{2})\b(?![@\w])"
)
_ASKS = (
    "reply", "write to", "write back", "let me know", "let us know", "antwort", "schreib", "répond", "écri", "respond",
    "escrib", "rispond", "scriv", "stuur", "escrev", "odpowied", "odpisz", "napisz", "svara", "mejla", "जवाब", "उत्तर",
    "jawab",
)  # fmt: skip
# Seven digits or more with what people put between them; a date or a postal code has fewer or other signs.
_PHONE = re.compile(r"(?<![\w/.-])(?:\+|00)?\(?\d[\d \u00a0()./-]{5,22}\d(?![\w/])")


def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    assert mail.message is not None
    main = mail.message.visible.main
    if main is not None and (reachable(main) or _own(main, mail.tenant)):
        return None
    return missing(CHECK.name, mail, tools, {"part": main.kind if main is not None else "none"})


def reachable(view: View) -> bool:
    """Somewhere in this form of the message is a telephone number, an e-mail address or a web address."""
    links = view.links
    if len(links) > 2 * _LINKS:
        links = links[:_LINKS] + links[-_LINKS:]
    out = []
    for link in links:
        if link.seen and link.href[:10].lower().startswith(_LEADS):
            if not leads_out(link):
                return True
            out.append(link.href.lower())
    text = view.lower
    if len(text) > 2 * _EDGE:
        text = text[:_EDGE] + "\n" + text[-_EDGE:]
    for href in out[:20]:
        text = text.replace(href, " ").replace(href.removeprefix("mailto:").partition("?")[0], " ")
    if "@" in text and _MAIL.search(text):
        return True
    if _WEB.search(text) or any(_is_phone(found[0]) for found in _PHONE.finditer(text)):
        return True
    return any(word in text for word in _ASKS)


_HOST = re.compile(r"(?:https?://(?:[^/?#@]*+@)?|mailto:[^?@]*+@)([\w.-]{1,253})", re.IGNORECASE)


def _own(view: View, tenant: Tenant) -> bool:
    """A link, were it the one to unsubscribe, leads to the tenant's own site."""
    hosts = [found[1].lower() for link in view.links[-20:] if link.seen and (found := _HOST.match(link.href[:2000]))]
    return any(tenant.domain_for(host) is not None for host in hosts)


# A date, a span of years, a nine-digit ZIP code.
_OTHER = re.compile(r"(?:\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{4}-\d{4}|\d{5}-\d{4})\Z")


def _is_phone(text: str) -> bool:
    digits = sum(map(str.isdigit, text))
    marked = text[0] in "+(0" or any(sign in text for sign in " \u00a0-./)")
    return 7 <= digits <= 15 and marked and not _OTHER.match(text)


CHECK = Check(
    name="contact-method",
    stages=(Stage.MESSAGE,),
    reply=replies.NO_CONTACT_METHOD,
    run=run,
    remedy="Put a telephone number, an e-mail address or the address of your website into the footer of the template.",
    repairs=True,
)
