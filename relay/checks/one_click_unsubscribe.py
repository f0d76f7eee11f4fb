"""The reader's mail program can unsubscribe with one click (RFC 8058).

One List-Unsubscribe with exactly one HTTPS URI (a mailto beside it is fine) at a host that has a name, one
List-Unsubscribe-Post that says `List-Unsubscribe=One-Click` and nothing else, and both covered by a
DKIM signature of the author's domain (section 4).  Where this relay signs, it signs both; where the
next hop signs, its covering them is taken as declared; a client's signature is looked at.

Reply:     554 5.7.0 where it is missing or not signed; 554 5.6.0 where it is malformed
Evidence:  wrong, signed_by (relay, next-hop (declared), client), not_repaired (why the relay cannot mend it)
Repair:    both fields with a link of ours, in place of those that are there
"""

from __future__ import annotations

import re

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.mending import missing
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools
from relay.replies import Reply

FIELD, POST = "list-unsubscribe", "list-unsubscribe-post"
_URI = re.compile(r"<([^<>]*)>")
# RFC 3986: what is outside these, an unrendered merge tag for instance, is no URI.  An underscore may stand in a host
# (section 3.2.2; RFC 2181 section 11 for the DNS), and a wildcard certificate covers it.
_HTTPS = re.compile(
    r"https://(?:[A-Za-z0-9_-]+\.)+[A-Za-z0-9-]+(?::[0-9]{1,5})?"
    r"(?:[/?#][A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*)?\Z",
    re.IGNORECASE,
)
# No name ends in a label that begins with a digit (RFC 3696 section 2).
_NUMBERED = re.compile(r"https://(?:(?:[A-Za-z0-9_-]+\.)+[0-9][A-Za-z0-9_-]*(?:[:/?#]|\Z)|\[)", re.IGNORECASE)
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


async def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    message = mail.message
    assert message is not None
    signed_by = _signer(mail)
    wrong, reply = _fields(message.all(FIELD), message.all(POST))
    if not wrong and signed_by == "client" and not await _covered(mail, tools):
        wrong, reply = "no valid signature of the From domain covers List-Unsubscribe and List-Unsubscribe-Post", None
    return missing(CHECK.name, mail, tools, {"wrong": wrong, "signed_by": signed_by}, reply) if wrong else None


def _fields(fields: list[str], posts: list[str]) -> tuple[str, Reply | None]:
    """(what is wrong, or "", its reply where that is not the check's own)"""
    if not fields:
        return "there is no List-Unsubscribe", None
    if len(fields) > 1:
        return "List-Unsubscribe stands there more than once", replies.BAD_ONE_CLICK
    uris = ["".join(uri.split()) for uri in _URI.findall(fields[0])]
    lower = [uri.lower() for uri in uris]
    if any(uri.startswith("http:") for uri in lower):
        return "List-Unsubscribe has an http URI, without TLS", replies.BAD_ONE_CLICK
    https = [uri for uri, low in zip(uris, lower, strict=True) if low.startswith("https:")]
    if len(https) > 1:
        return "List-Unsubscribe has more than one HTTPS URI", replies.BAD_ONE_CLICK
    if https and _NUMBERED.match(https[0]):
        return "the HTTPS URI of List-Unsubscribe has an IP address in place of a host name", replies.BAD_ONE_CLICK
    if https and (not _HTTPS.match(https[0]) or ("%" in https[0] and _BAD_PERCENT.search(https[0]))):
        return "the HTTPS URI of List-Unsubscribe is not a valid one", replies.BAD_ONE_CLICK
    if not https:
        if "http" in fields[0].lower() or not uris:
            return "List-Unsubscribe has no URI in angle brackets", replies.BAD_ONE_CLICK
        return "List-Unsubscribe has no HTTPS URI", None
    if not posts:
        return "there is no List-Unsubscribe-Post", None
    if len(posts) > 1:
        return "List-Unsubscribe-Post stands there more than once", replies.BAD_ONE_CLICK
    if posts[0] != "List-Unsubscribe=One-Click":
        return "List-Unsubscribe-Post is not List-Unsubscribe=One-Click", replies.BAD_ONE_CLICK
    return "", None


def _signer(mail: Mail) -> str:
    """Who signs for the first From domain that is the tenant's."""
    assert mail.message is not None
    for name in mail.message.from_domains:
        domain = mail.tenant.domain_for(name)
        if domain is not None:
            if domain.dkim_by == "relay":
                return "relay"
            if domain.dkim_by == "next-hop":
                return "next-hop (declared)"
            break
    return "client"


async def _covered(mail: Mail, tools: Tools) -> bool:
    message = mail.message
    assert message is not None
    authors = message.from_domains
    signatures = await tools.authentication.signatures(message)
    if not signatures and not mail.tenant.id:
        return True  # `check` without a tenant: who signs is not known, the fields were judged
    for signature in signatures:
        # valid is None where signatures cannot be verified (no DNS): what it says is taken then.
        if signature.valid is False or FIELD not in signature.headers or POST not in signature.headers:
            continue
        if any(_aligned(mail, author, signature.domain) for author in authors):
            return True
    return False


def _aligned(mail: Mail, author: str, signer: str) -> bool:
    """One is the other or below it, or both are below one domain of the tenant."""
    if author == signer or author.endswith("." + signer) or signer.endswith("." + author):
        return True
    ours = mail.tenant.domain_for(author)
    return ours is not None and mail.tenant.domain_for(signer) == ours


CHECK = Check(
    name="one-click-unsubscribe",
    stages=(Stage.MESSAGE,),
    reply=replies.NO_ONE_CLICK,
    run=run,
    remedy=(
        "Switch on one-click unsubscribe in the campaign tool: List-Unsubscribe: <https://...> with one https link, and"
        " List-Unsubscribe-Post: List-Unsubscribe=One-Click, both covered by the DKIM signature if the tool signs."
    ),
    repairs=True,
)
