"""Addresses as RFC 5321 and RFC 6531 know them, their forms, and what is compared.

An own parser: it runs for every MAIL and RCPT, keeps quoted local parts, says what
is wrong, and never looks anything up.  No I/O here.
"""

import hashlib
import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import idna

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_UTF8 = "\u0080-\U0010ffff"
_DOT_STRING = re.compile(rf"[{_ATEXT}{_UTF8}]+(?:\.[{_ATEXT}{_UTF8}]+)*\Z")
_QUOTED = re.compile(rf'"(?:[\x20\x21\x23-\x5b\x5d-\x7e{_UTF8}]|\\[\x20-\x7e])*"\Z')
_LDH = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")
_PLAIN = re.compile(
    rf"([{_ATEXT}]+(?:\.[{_ATEXT}]+)*)@((?:(?!-)[A-Za-z0-9-]{{1,63}}(?<!-)\.)+(?!-)[A-Za-z0-9-]{{1,63}}(?<!-))\Z"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e01ef]"
)
"""Characters that leave no trace (marks of order and direction, soft hyphens): an address with one is another address,
and nobody can tell.  The two joiners U+200C and U+200D are not among them: Indic and Persian words need them."""


class BadAddress(ValueError):
    """Not an address; the text says why, in words for the person who typed it."""


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox.  `local` as given; `domain` lower case, IDNA A-label, no final dot.

    text      as given, for the envelope and the ledger
    literal   the domain is an address literal, `[192.0.2.1]`
    """

    text: str
    local: str
    domain: str
    literal: bool = False

    @property
    def utf8(self) -> bool:
        """Needs SMTPUTF8: the local part, or the domain as written, is not ASCII."""
        return not self.text.isascii()

    @property
    def exact(self) -> str:
        """What two spellings of one mailbox share for certain: the whole address in
        lower case with the domain as an A-label, quotes that say nothing removed.

        RFC 5321 section 2.4 leaves the case of a local part to its host; no host in
        use tells two people apart by it, and an opt-out must not hang on it.
        """
        return f"{unquoted(self.local).lower()}@{self.domain}"


def unquoted(local: str) -> str:
    """The local part less needless quoting: `"a.b"` is `a.b` (RFC 5321 section 4.1.2)."""
    if len(local) > 1 and local[0] == '"' == local[-1]:
        inner = re.sub(r"\\(.)", r"\1", local[1:-1])
        if _DOT_STRING.match(inner):
            return inner
    return local


@lru_cache(maxsize=20_000)
def domain_name(text: str) -> str:
    """A host name in its one form: lower case, A-labels, without the final dot.

    Raises BadAddress.  Underscores are let through: they are wrong in a mail domain
    and common in delegated bounce domains.
    """
    name = text[:-1] if text.endswith(".") else text
    if not name:
        raise BadAddress("the domain is empty")
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode()
        except (idna.IDNAError, UnicodeError) as error:
            raise BadAddress(f"the domain is not a valid internationalised name ({error})") from None
    name = name.lower()
    if len(name) > 253:
        raise BadAddress("the domain is longer than 253 characters")
    labels = name.split(".")
    for label in labels:
        if not _LDH.match(label):
            raise BadAddress("the domain has an empty label" if not label else "the domain has a bad label")
    if len(labels) < 2:
        raise BadAddress("the domain has no dot")
    if labels[-1].isdigit():
        raise BadAddress("the domain ends in a number")
    return name


def parse(text: str) -> Address:
    """`local@domain` -> Address.  Raises BadAddress with a reason.

    Accepts dot-strings, quoted strings, UTF-8 (RFC 6531), address literals; refuses
    source routes, comments, control characters, and lengths beyond RFC 5321 section
    4.5.3.1 (64 octets of local part, 254 in all).
    """
    plain = _PLAIN.match(text)
    if plain and len(text) <= 254 and len(plain[1]) <= 64:
        domain = plain[2].lower()
        if not domain.rpartition(".")[2].isdigit():
            return Address(text, plain[1], domain)
    if not text:
        raise BadAddress("the address is empty")
    if _CONTROL.search(text):
        raise BadAddress("the address has a control character")
    if not text.isascii() and (unseen := UNSEEN.search(text)):
        raise BadAddress(f"the address has a character that cannot be seen (U+{ord(unseen[0]):04X})")
    local, at, host = text.rpartition("@")
    if not at:
        raise BadAddress("the address has no @")
    if not local:
        raise BadAddress("nothing stands before the @")
    if len(local.encode()) > 64:
        raise BadAddress("the part before the @ is longer than 64 octets")
    if not _DOT_STRING.match(local) and not _QUOTED.match(local):
        raise BadAddress("the part before the @ is not a valid local part")
    if host.startswith("["):
        return Address(text, local, _literal(host), literal=True)
    address = Address(text, local, domain_name(host))
    if len(text.encode()) > 254:
        raise BadAddress("the address is longer than 254 octets")
    return address


def plain(text: str) -> str:
    """The exact form of an ordinary ASCII address, for whoever reads millions; "" for all that `parse` must look at."""
    found = _PLAIN.match(text)
    if found and len(text) <= 254 and found.end(1) <= 64:
        exact = text.lower()
        if not exact.rpartition(".")[2].isdigit():
            return exact
    return ""


def _literal(host: str) -> str:
    if not host.endswith("]"):
        raise BadAddress("the address literal has no closing bracket")
    inner = host[1:-1]
    try:
        if inner.lower().startswith("ipv6:"):
            return f"[ipv6:{ipaddress.IPv6Address(inner[5:])}]"
        return f"[{ipaddress.IPv4Address(inner)}]"
    except ValueError:
        raise BadAddress("the address literal is not an IP address") from None


# -- forms of an address, for suppression ---------------------------------------
FOLDING = 1
"""Version of the folding rules; stored with each folded form (a new version may
fold more, never less: what was opted out stays opted out)."""

# Facts of the providers, as their own help pages state them: Gmail ignores dots and
# everything after "+"; the others deliver a "+tag" to the address before it.
_DOTLESS = frozenset({"gmail.com", "googlemail.com"})
_ALIASES = {"googlemail.com": "gmail.com"}
_MINUS_TAGS = frozenset({"yahoo.com", "ymail.com", "rocketmail.com"})
_PARTICULAR = _DOTLESS | _MINUS_TAGS | _ALIASES.keys()


def folded(address: Address) -> str:
    """The mailbox behind tags and dots: `J.Doe+x@googlemail.com` -> `jdoe@gmail.com`.

    `+tag` is dropped everywhere: where a host does not know tags, the longer address
    does not exist, and mailing it by mistake is the worse error of the two.  An accented
    letter is one character (NFC, RFC 6532 section 3.1): some systems write it as two.
    """
    local = unquoted(address.local).lower()
    if not local.isascii():
        local = unicodedata.normalize("NFC", local)
    domain = _ALIASES.get(address.domain, address.domain)
    if not local.startswith('"'):
        base = local.split("+", 1)[0]
        if domain in _MINUS_TAGS:
            base = base.split("-", 1)[0]
        if domain in _DOTLESS:
            base = base.replace(".", "")
        local = base or local
    return f"{local}@{domain}"


def hosts_of(address: Address) -> set[str]:
    """Every domain under which the same mailbox may stand."""
    domain = _ALIASES.get(address.domain, address.domain)
    return {domain, *(alias for alias, name in _ALIASES.items() if name == domain)}


def unfoldable(exact: str) -> bool:
    """Whether an exact form is certainly its own folded form; most are, and this is quicker than to fold them."""
    return (
        "+" not in exact
        and exact.rpartition("@")[2] not in _PARTICULAR
        and (exact.isascii() or unicodedata.is_normalized("NFC", exact))
    )


def parents(domain: str) -> list[str]:
    """The domain and each parent that still has a dot: a.b.example.com, b.example.com, example.com."""
    labels = domain.split(".")
    return [".".join(labels[i:]) for i in range(max(1, len(labels) - 1))]


def spellings(address: Address, *, folding: bool = True) -> set[str]:
    """What another system may have made a digest of: the address as given, in lower case, with its domain as people
    read it; and where `folding`, the mailbox behind its tags and dots."""
    forms = {address.text, address.exact, address.text.lower()}
    if folding:
        local = folded(address).rpartition("@")[0]
        forms |= {f"{local}@{host}" for host in hosts_of(address)}
    if "xn--" in address.domain:
        try:
            name = idna.decode(address.domain)
        except (idna.IDNAError, UnicodeError):  # an A-label that says nothing
            return forms
        ascii_ = f"@{address.domain}"
        forms |= {form.removesuffix(ascii_) + f"@{name}" for form in forms if form.endswith(ascii_)}
    return forms


def foreign_hashes(address: Address) -> list[tuple[str, bytes]]:
    """MD5, SHA-1 and SHA-256 of every spelling of the address.

    Other systems export their opt-outs so; these digests are look-up keys of
    theirs, not a protection of ours.
    """
    forms = {form.encode() for form in spellings(address)}
    return [
        (name, hashlib.new(name, form, usedforsecurity=False).digest())
        for name in ("md5", "sha1", "sha256")
        for form in sorted(forms)
    ]
