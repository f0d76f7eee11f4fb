"""What the content checks find in mail that nobody here wrote: `python -m tests.quality FOLDER...`.

    python -m tests.quality ~/corpora/newsletters --kind newsletter --one-click
    python -m tests.quality ~/corpora/phishing --kind phishing --sample 1000
    python -m tests.quality ~/corpora/newsletters --kind commercial          their opt-out cut away first
    python -m tests.quality ~/corpora/newsletters --profiles tests/quality/profiles.csv
    python -m tests.quality ~/corpora/newsletters --json | jq 'select(.found["hidden-text"])'

Every message is a marketing campaign of a tenant who has verified the domains of its From and Sender.  Each check
of the message stage is asked by itself, as prospektr, leadnest and the baseline set it, and the whole stage under
both policies.  Scanners, the link prober and everything that needs the network are off; domains have SPF and
DMARC, the relay signs.  Nothing is repaired: what repair would mend counts as refused.

postal-address is asked whether there is any address (mode `any`), and sender-identity not at all, because a corpus
has no profiles.  --profiles names a table (domain of From, name, postal address; read from the mail by a person):
then only mail of those domains is judged, by both checks as they stand.
docs/quality.md has the corpora, and what was measured.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import dataclasses
import json
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from relay.address import BadAddress, parse
from relay.aside import Threads
from relay.checks import CHECKS
from relay.checks.postal_address import Settings as PostalAddress
from relay.dns.authentication import DomainAuthentication
from relay.dns.resolver import StaticResolver, everything
from relay.events import Event
from relay.lists import Lists
from relay.message import Message
from relay.message.content import Content
from relay.model import Action, Domain, Envelope, Mail, Profile, Recipient, Session, Stage, Tenant
from relay.phrases import Phrases
from relay.policy import Policy, Rule, judge
from relay.policy_file import Policies
from relay.ports import Tools
from relay.smtp.body import Chunks
from relay.stores.memory import MemoryDirectory
from relay.stores.memory_quotas import MemoryQuotas
from relay.stores.memory_sightings import MemorySightings
from tests.quality import corpus

NOON = 1_795_262_400.0
EGRESS = "192.0.2.10"
POLICIES = ("prospektr", "leadnest")
NO_PROFILE = frozenset({"sender-identity"})


class Quality:
    """profiles  domain of From -> (name, postal address); empty: mode `any`"""

    def __init__(self, profiles: Mapping[str, tuple[str, str]]) -> None:
        self.profiles = profiles
        policies = Policies()
        self.policies = {name: self.adapted(policies.get(name)) for name in POLICIES}
        known = [self.policies["leadnest"], self.policies["prospektr"], policies.get("baseline")]
        set_by = {rule.check.name: rule for policy in reversed(known) for rule in policy.rules[Stage.MESSAGE]}
        self.rules = [
            set_by.get(check.name) or Rule(check, check.settings(), ("X",), check.then)
            for check in CHECKS
            if Stage.MESSAGE in check.stages and (profiles or check.name not in NO_PROFILE)
        ]
        self.rules = [dataclasses.replace(rule, streams=frozenset()) for rule in self.rules]
        self.aside = Threads(2.0)
        self.sightings = MemorySightings()
        self.lists, self.phrases = Lists(), Phrases()

    def adapted(self, policy: Policy) -> Policy:
        """Without a profile: any address will do, and no name is asked for."""
        if self.profiles:
            return policy
        rules = tuple(
            dataclasses.replace(rule, settings=PostalAddress(mode="any"))
            if rule.check.name == "postal-address"
            else rule
            for rule in policy.rules[Stage.MESSAGE]
            if rule.check.name not in NO_PROFILE
        )
        return dataclasses.replace(policy, rules={**policy.rules, Stage.MESSAGE: rules})

    async def look(self, raw: bytes) -> dict[str, Any] | None:
        """{"from", "subject", "found": {check: evidence}, "prospektr": checks that stop it, "leadnest": likewise}"""
        message = await Message.read(_as_received(raw))
        domain = next(iter(message.from_domains), "")
        profile = next((self.profiles[one] for one in _parents(domain) if one in self.profiles), None)
        if self.profiles and profile is None:
            return None
        mail, tools = self.mail(message, domain, profile)
        found = {}
        for rule in self.rules:
            verdict = await judge([rule], mail, tools, _unheard)
            for finding in verdict.findings:
                found[rule.check.name] = dict(finding.evidence.seen)
        row: dict[str, Any] = {"from": domain, "subject": (message.all("subject") or [""])[0][:100], "found": found}
        for name, policy in self.policies.items():
            verdict = await policy.judge(Stage.MESSAGE, mail, tools, _unheard)
            stopped = verdict.action is not Action.FORWARD
            row[name] = sorted({f.check for f in verdict.findings if str(f.then) in _STOPS}) if stopped else []
        return row

    def mail(self, message: Message, domain: str, profile: tuple[str, str] | None) -> tuple[Mail, Tools]:
        name, address = profile or (
            next(iter(message.from_names), "") or domain,
            "1 Main Street, Springfield, IL 62701",
        )
        # Who sends for the author (Sender) is the tenant's own tool here.
        domains = dict.fromkeys([domain, *message.sender_domains]) if domain else {}
        own = tuple(Domain(one, domain, verified=True, dkim_by="relay", selector="s1") for one in domains)
        tenant = Tenant(
            domain or "unknown",
            "prospektr",
            Profile(legal_name=name, postal_address=address, contact=f"abuse@{domain}", verified=True),
            domains=own,
        )
        zone: dict[str, Any] = {}
        if domain:
            zone[domain] = {"MX": [f"10 mx.{domain}"], "TXT": [f"v=spf1 ip4:{EGRESS} -all"]}
            zone[f"_dmarc.{domain}"] = {"TXT": ["v=DMARC1; p=none"]}
        dns = StaticResolver(zone, everything)
        tools = Tools(
            dns=dns,
            authentication=DomainAuthentication(dns, [EGRESS], clock=lambda: NOON),
            quotas=MemoryQuotas(),
            installation="0123456789abcdef",
            missing={
                "session": "no-session",
                "malware-scanner": "no-scanner",
                "spam-scanner": "no-scanner",
                "links": "no-network",
            },
            lists=self.lists,
            sightings=self.sightings,
            directory=MemoryDirectory([tenant]),
            phrases=self.phrases,
            encrypted=lambda tenant: True,
            aside=self.aside,
        )
        session = Session(
            "q", "192.0.2.1", "q", helo="q", esmtp=True, tls="TLSv1.3", tenant=tenant.id, stream="marketing"
        )
        envelope = Envelope(
            "r" * 26,
            NOON,
            tenant,
            "marketing",
            _address(f"bounce@{domain}") or parse(f"bounce@{corpus.WRAPPED.partition('@')[2]}"),
        )
        to = next((one for box in message.addresses("to") if (one := _address(box.address))), None)
        envelope.recipients = [Recipient(to or parse("reader@customer.example"))]
        return Mail(NOON, session, envelope, message=message), tools


_STOPS = frozenset({"refuse", "hold", "defer"})


def _parents(domain: str) -> list[str]:
    labels = domain.split(".")
    return [".".join(labels[start:]) for start in range(len(labels) - 1)]


def _address(text: str) -> Any:
    try:
        return parse(text)
    except BadAddress:
        return None


def _as_received(raw: bytes) -> Content:
    body = Chunks(50 << 20)
    body.expect(len(raw))
    body.feed(bytearray(raw))
    body.finish()
    return Content(body.take(), body.fault)


def _unheard(event: Event) -> None:
    """Nobody listens."""


def read_profiles(path: Path) -> dict[str, tuple[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return {row["domain"]: (row["name"], row["address"]) for row in csv.DictReader(lines)}


async def run(args: argparse.Namespace) -> int:
    chosen = [(name, raw) for name, raw in corpus.messages(args.folder) if not args.only or name in args.only]
    if args.sample and args.sample < len(chosen):
        chosen = random.Random(1).sample(chosen, args.sample)
    quality = Quality(read_profiles(args.profiles) if args.profiles else {})
    rows = []
    for number, (name, raw) in enumerate(chosen):
        if args.kind == "commercial":
            made = corpus.without_opt_out(raw)
            if made is None:
                continue
            raw = made
        if args.one_click or args.kind == "commercial":
            raw = corpus.with_one_click(raw)
        row = await quality.look(raw)
        if row is None:
            continue
        rows.append(row)
        if args.json:
            print(json.dumps({"file": name, **row}, ensure_ascii=False))
        elif sys.stderr.isatty():
            print(f"\r{number + 1} of {len(chosen)}", end="", file=sys.stderr)
    quality.aside.close()
    if not args.json:
        print("\n".join(table(args.kind, [rule.check.name for rule in quality.rules], rows)))
    return 0 if rows else 2


def table(kind: str, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of Markdown: what found nothing last, in one line."""
    hits = Counter(name for row in rows for name in row["found"])
    for name in POLICIES:
        hits[name] = sum(bool(row[name]) for row in rows)
    whole = [(f"{name}, the whole message stage", hits[name]) for name in POLICIES]
    some = [(name, hits[name]) for name in names if hits[name]]
    lines = ["| check | corpus | messages | hits | |", "|---|---|---|---|---|"]
    of = max(1, len(rows))
    lines += [f"| {name} | {kind} | {len(rows)} | {count} | {count / of:.1%} |" for name, count in [*whole, *some]]
    return [*lines, "", "Nothing found by: " + ", ".join(name for name in names if not hits[name]) + "."]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="+", type=Path, help="of .eml, .mbox or .html files; or one such file")
    parser.add_argument("--kind", choices=["newsletter", "ham", "phishing", "commercial"], default="newsletter")
    parser.add_argument("--one-click", action="store_true", help="puts the fields of RFC 8058 there")
    parser.add_argument("--profiles", type=Path, help="table of domain, name, address")
    parser.add_argument("--only", type=Path, help="file with the names of the messages to judge, one a line")
    parser.add_argument("--sample", type=int, help="so many of them, the same ones every time")
    parser.add_argument("--json", action="store_true", help="one object a message")
    args = parser.parse_args()
    if missing := [str(path) for path in args.folder if not path.exists()]:
        parser.error(f"not there: {', '.join(missing)}")
    args.only = frozenset(args.only.read_text().splitlines()) if args.only else frozenset()
    return asyncio.run(run(args))


if __name__ == "__main__":
    sys.exit(main())
