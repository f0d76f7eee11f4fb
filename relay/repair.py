"""What the relay puts into a message that lacks it, in one pass, before it is signed.

    one-click-unsubscribe   List-Unsubscribe and List-Unsubscribe-Post (RFC 8058), in place of malformed ones, and
                            List-Id (RFC 2919) where the stream has one and the message has none
    unsubscribe-link, postal-address, sender-identity, contact-method
                            one footer with what is asked for, in the language of the message
    well-formed, dkim       made by relay/outgoing.py, for any mail

A check that found something asks `hindrance`; the policy decides; `mend` makes it once for all checks.
Nothing is put into a message that somebody else signed, that is encrypted or a report, or whose text has no
place for it, and no link of one person into a message for several.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from relay.footers import ADDRESS, CONTACT, NAME, UNSUBSCRIBE, Template, footer, reachable
from relay.message import Message
from relay.message.edit import Edit, Footer, footer_edits, untouchable
from relay.model import Domain, Mail, Profile, Tenant
from relay.ports import Mended

LONGEST_LIST_ID = 255
"""Octets (RFC 2919 section 3)."""
_LIST_ID = re.compile(r"[A-Za-z0-9_-]++(?>(?:\.[A-Za-z0-9_-]++)+)\Z")

ONE_CLICK = "one-click-unsubscribe"
WANTED = {
    "unsubscribe-link": frozenset((UNSUBSCRIBE,)),
    "postal-address": frozenset((ADDRESS,)),
    "sender-identity": frozenset((NAME,)),
    "contact-method": frozenset((CONTACT,)),
}
"""Checks that a footer serves, and what it must then have."""
BESIDE = {"sender-identity": frozenset((CONTACT,))}
"""What stands beside that, where it is known."""
FIELDS = ("list-unsubscribe", "list-unsubscribe-post")
_POST = b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"


class Links(Protocol):
    """relay.unsubscribe.Unsubscribe, which makes links that work for ever."""

    possible: bool

    def link(self, tenant: str, stream: str, address: str) -> str: ...

    def mailto(self, tenant: str, stream: str, address: str) -> str: ...


class Templates(Protocol):
    """relay.footers.Footers"""

    def template(self, tenant: Tenant, languages: Iterable[str]) -> Template: ...


@dataclass(slots=True)
class _Plan:
    """What can be done for one mail; worked out when a check first asks.

    untouchable  why nothing may be changed, "" if it may
    no_link      why it gets no link of its recipient, else "" and `link` is that
    footers      by sections: the footer and its edits; no edits: there is no place for it
    places       where in its pages the first of them, which has all sections, is seen
    """

    untouchable: str
    no_link: str
    link: str
    footers: dict[frozenset[str], tuple[Footer, tuple[Edit, ...]]] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)


class Repairs:
    """ports.Repairs.

    links  None: there are no pages of ours
    """

    def __init__(self, templates: Templates, links: Links | None = None) -> None:
        self._templates = templates
        self.links = links

    # -- asked by checks ----------------------------------------------------------------
    def hindrance(self, mail: Mail, check: str) -> str:
        """ports.Repairs.hindrance"""
        plan = self._plan(mail)
        if plan.untouchable:
            return plan.untouchable
        if check == ONE_CLICK:
            return plan.no_link or _unsigned(mail)
        wanted = WANTED.get(check)
        if wanted is None:
            return "nothing that the relay can add"
        if UNSUBSCRIBE in wanted and plan.no_link:
            return plan.no_link
        if missing := wanted - self._possible(mail, plan):
            return f"no verified {' and '.join(sorted(_CALLED[one] for one in missing))} of the tenant"
        return "" if self._most(mail, plan)[1] else "no place for a footer"

    # -- asked when the message is made ----------------------------------------------------
    def mend(self, mail: Mail, checks: Collection[str]) -> Mended:
        """ports.Repairs.mend"""
        plan = self._plan(mail)
        fields = b""
        drop: tuple[str, ...] = ()
        if ONE_CLICK in checks:
            fields, drop = self._list_fields(mail, plan), FIELDS
        sections = frozenset[str]().union(*(WANTED[check] for check in checks if check in WANTED))
        if not sections:
            return Mended(fields, drop)
        beside = frozenset[str]().union(*(BESIDE[check] for check in checks if check in BESIDE))
        sections |= beside & self._possible(mail, plan)
        made, edits = self._footer(mail, plan, sections)
        if not edits:  # each check was told that there is place for all that this tenant's footers can have
            made, edits = self._most(mail, plan)
        return Mended(fields, drop, made, edits)

    # -- one mail --------------------------------------------------------------------------
    def _plan(self, mail: Mail) -> _Plan:
        plan: _Plan | None = mail.repair
        if plan is None:
            message = mail.message
            assert message is not None
            no_link, link = self._link(mail)
            plan = mail.repair = _Plan(_untouchable(message, mail.tenant), no_link, link)
        return plan

    def _link(self, mail: Mail) -> tuple[str, str]:
        """(why there is none, or "", the link)"""
        if self.links is None or not self.links.possible:
            return "no https base_url with a public page for links of ours", ""
        if mail.tenant.opt_out == "synced":
            return "people leave by the tenant's own link (opt_out: synced)", ""
        recipients = mail.envelope.recipients
        if len(recipients) != 1:
            return "several recipients, and a link is for one", ""
        try:
            return "", self.links.link(mail.tenant.id, mail.envelope.stream, recipients[0].address.text)
        except ValueError:  # half a surrogate pair, a stream of a later version
            return "no link can be made for this recipient", ""

    def _list_fields(self, mail: Mail, plan: _Plan) -> bytes:
        assert self.links is not None and mail.message is not None
        recipient = mail.envelope.recipients[0].address.text
        mailto = self.links.mailto(mail.tenant.id, mail.envelope.stream, recipient)
        # RFC 2369 section 2: commas between, the preferred one first; a field is folded at white space alone.
        also = f",\r\n <{mailto}>" if mailto else ""
        id = mail.tenant.list_ids.get(mail.envelope.stream, "")
        named = f"List-Id: <{id}>\r\n" if id and not mail.message.count("list-id") else ""
        return f"{named}List-Unsubscribe: <{plan.link}>{also}\r\n".encode() + _POST

    # -- the footer ------------------------------------------------------------------------
    def _possible(self, mail: Mail, plan: _Plan) -> frozenset[str]:
        """What a footer of this mail can have."""
        return _known(mail.tenant.profile, not plan.no_link)

    def _most(self, mail: Mail, plan: _Plan) -> tuple[Footer, tuple[Edit, ...]]:
        return self._footer(mail, plan, self._possible(mail, plan))

    def _footer(self, mail: Mail, plan: _Plan, sections: frozenset[str]) -> tuple[Footer, tuple[Edit, ...]]:
        known = plan.footers.get(sections)
        if known is None:
            message = mail.message
            assert message is not None
            template = self._templates.template(mail.tenant, languages(message))
            reason = mail.tenant.reasons.get(mail.envelope.stream, "")
            made = footer(template, mail.tenant.profile, sections, plan.link, reason)
            known = plan.footers[sections] = made, footer_edits(message, made, plan.places) if readable(message) else ()
        return known


def wrong_list_id(text: str) -> str:
    """What is wrong with a List-Id of a stream, "" for nothing: names with dots between, the last of them the domain of
    whoever keeps the list (RFC 2919 section 2)."""
    if not text or (_LIST_ID.match(text) and len(text) <= LONGEST_LIST_ID):
        return ""
    return "must be such as news.acme.example: letters, digits, - and _ with dots between, 255 at most, no brackets"


_CALLED = {NAME: "legal name", ADDRESS: "postal address", CONTACT: "contact", UNSUBSCRIBE: "link"}


@lru_cache(maxsize=1024)
def _known(profile: Profile, linked: bool) -> frozenset[str]:
    found = {UNSUBSCRIBE} if linked else set()
    if profile.verified:
        if profile.legal_name or profile.trading_name:
            found.add(NAME)
        if profile.postal_address:
            found.add(ADDRESS)
        if profile.contact and reachable(profile.contact):
            found.add(CONTACT)
    return frozenset(found)


def readable(message: Message) -> bool:
    """Whether our checks read its text to the end, which is where a footer stands."""
    visible = message.visible
    return not visible.too_complex and not any("to its end" in note for note in visible.notes)


# -- what may be changed ---------------------------------------------------------------------
def signing(mail: Mail) -> Domain | None:
    """The domain of the first From address of the tenant, if the relay or the next hop signs for it."""
    message = mail.message
    assert message is not None
    for name in message.from_domains:
        domain = mail.tenant.domain_for(name)
        if domain is not None:
            return domain if domain.dkim_by in ("relay", "next-hop") else None
    return None


def _unsigned(mail: Mail) -> str:
    """RFC 8058 section 4: a signature of the author's domain covers both fields."""
    return "" if signing(mail) is not None else "nobody behind the client signs for the From domain"


def _untouchable(message: Message, tenant: Tenant) -> str:
    return untouchable(message, _renewable(message, tenant))


def _renewable(message: Message, tenant: Tenant) -> Callable[[str], bool]:
    """Whether a signature of this domain is made anew behind us, since ours covers what that did."""

    def renewable(name: str) -> bool:
        domain = tenant.domain_for(name)
        if domain is None or domain.dkim_by not in ("relay", "next-hop"):
            return False
        return any(tenant.domain_for(author) == domain for author in message.from_domains)

    return renewable


# -- in which language --------------------------------------------------------------------------
_TAG = re.compile(r"\s*([A-Za-z]{2,3})(?![A-Za-z])")
_LANG = re.compile(r"\blang\s*=\s*[\"']?([A-Za-z]{2,3})(?![A-Za-z])", re.IGNORECASE)
_READ = 4096


def languages(message: Message) -> Iterator[str]:
    """What the message says of its language, the surest first: Content-Language (RFC 3282), `<html lang>`."""
    given = message.first("content-language")
    if given and (tag := _TAG.match(given)):
        yield tag[1].lower()
    for part in message.visible.per_part:
        if part.kind == "html":
            head = part.source[:_READ]
            begin = head.find("<html")
            if begin < 0:
                begin = head.lower().find("<html")
            if begin >= 0 and (found := _LANG.search(head, begin, max(begin, head.find(">", begin)))):
                yield found[1].lower()
            return
