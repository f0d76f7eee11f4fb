"""DMARC: the record that applies to a From domain, and its organisational domain (RFC 9989).

Both are found by walking up the tree, at most eight questions; no list of public suffixes.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.ports import Dmarc, Dns

QUERIES = 8
"""RFC 9989 section 4.10: a name of more labels is cut to seven after the first question."""
POLICIES = ("none", "quarantine", "reject")


@dataclass(frozen=True, slots=True)
class Record:
    """One policy record; tags that are absent or unknown are "" or their default."""

    text: str
    p: str = ""
    sp: str = ""
    np: str = ""
    psd: str = "u"
    adkim: str = "r"
    aspf: str = "r"
    rua: bool = False

    def policy(self, *names: str) -> str:
        """The first of the tags (`np`, `sp`, `p`) that is there.

        None of them there: none.  One that is not valid: none if reports are asked for, else the
        record says nothing, "" (RFC 9989 section 4.7).
        """
        value: str = next((v for v in (getattr(self, name) for name in names) if v), "none")
        return value if value in POLICIES else "none" if self.rua else ""


def parse(text: str) -> Record | None:
    """A TXT record -> Record; None if it is no DMARC record: it must begin with v=DMARC1."""
    specs = text.split(";")
    name, equals, version = specs[0].partition("=")
    if not equals or name.strip(" \t") != "v" or version.strip(" \t") != "DMARC1":
        return None
    tags: dict[str, str] = {}
    for spec in specs[1:]:
        name, equals, value = spec.partition("=")
        if equals:
            tags.setdefault(name.strip(" \t").lower(), value.strip(" \t"))
    psd = tags.get("psd", "u").lower()
    return Record(
        text=text,
        p=tags.get("p", "").lower(),
        sp=tags.get("sp", "").lower(),
        np=tags.get("np", "").lower(),
        psd=psd if psd in ("y", "n") else "u",
        adkim="s" if tags.get("adkim", "").lower() == "s" else "r",
        aspf="s" if tags.get("aspf", "").lower() == "s" else "r",
        rua=any(_uri(part) for part in tags.get("rua", "").split(",")),
    )


def _uri(text: str) -> bool:
    scheme, colon, rest = text.strip(" \t").partition(":")
    return bool(colon and rest and scheme.isascii() and scheme.isalnum())


async def record_at(dns: Dns, domain: str) -> Record | None:
    """The record of this very name.  Several of them count as none (RFC 9989 section 4.10)."""
    answer = await dns.resolve("_dmarc." + domain, "TXT")
    found = [record for text in answer.records if (record := parse(text))]
    return found[0] if len(found) == 1 else None


async def walk(dns: Dns, domain: str) -> list[tuple[str, Record]]:
    """The records from `domain` up, the longest name first; ends at psd=y or psd=n (RFC 9989 section 4.10)."""
    labels = domain.split(".")
    found: list[tuple[str, Record]] = []
    for _ in range(QUERIES):
        name = ".".join(labels)
        if record := await record_at(dns, name):
            found.append((name, record))
            if record.psd != "u":
                break
        labels = labels[1:] if len(labels) < QUERIES else labels[-(QUERIES - 1) :]
        if not labels:
            break
    return found


def organisational(domain: str, found: list[tuple[str, Record]]) -> str:
    """RFC 9989 section 4.10.2: psd=n is it; the one below psd=y is it; else the shortest that has a record."""
    for name, record in found:
        if record.psd == "n":
            return name
        if record.psd == "y":  # a suffix that sends mail itself has nothing below: then it is its own
            labels = domain.split(".")
            return ".".join(labels[-(name.count(".") + 2) :])
    return found[-1][0] if found else domain


async def discover(dns: Dns, domain: str) -> Dmarc:
    """The policy of an author domain: its own record, else that of its organisational domain, else that
    of the public suffix above (RFC 9989 section 4.10.1).  Raises Unavailable."""
    found = await walk(dns, domain)
    organisation = organisational(domain, found)
    records = dict(found)
    suffix = found[-1][0] if found and found[-1][1].psd == "y" else ""
    for at in (domain, organisation, suffix):
        if record := records.get(at):
            break
    else:
        return Dmarc("", "", organisation, "")
    if at == domain:
        policy = record.policy("p")
    elif record.np and not (await dns.resolve(domain, "A")).exists:
        policy = record.policy("np", "sp", "p")
    else:
        policy = record.policy("sp", "p")
    if not policy:
        return Dmarc("", at, organisation, "")
    return Dmarc(record.text, at, organisation, policy, record.adkim, record.aspf)
