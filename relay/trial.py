"""Messages beside a policy file, judged as the server would: `aup-relay policy test FILE`.

    mine.yaml                        the policy
    mine/setup.yaml                  who sends to whom; may be left out, and so may any part of it
    mine/refuse/CHECK[.note].eml     must be refused by that check; likewise hold/, defer/ and repair/
    mine/pass/NOTE.eml               must go through, to every recipient

In repair/ the relay can make links of its own and footers; elsewhere it can do neither, so that the `else`
of a check shows.
No network: the sender's domains have SPF, DKIM and DMARC as they should be, names under `.invalid`
do not exist, every other domain takes mail.  `dns:` of setup.yaml says otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from relay.address import BadAddress, parse
from relay.dns.authentication import DomainAuthentication
from relay.dns.resolver import StaticResolver, everything
from relay.examine import Examined, examine
from relay.footers import Footers
from relay.lists import Lists
from relay.model import Domain, Profile, Tenant
from relay.phrases import Phrases
from relay.policy import Policy
from relay.policy_file import Policies
from relay.ports import Tools
from relay.repair import Repairs
from relay.smtp.body import as_received
from relay.stores.consents import Record
from relay.stores.forms import entry
from relay.stores.memory import MemoryDirectory, MemoryRecipients
from relay.stores.memory_quotas import MemoryQuotas
from relay.stores.memory_sightings import MemorySightings
from relay.unsubscribe import Unsubscribe
from relay.yaml_marks import Document, FileError, Path_, near

FOLDERS = ("pass", "refuse", "hold", "defer", "repair")
EGRESS = "192.0.2.10"
NOON = 1_795_262_400.0
"""When nothing else is said, mail is judged on 2026-11-21 at 12:00 UTC: the same on every day."""
LARGEST = 50 << 20
DAY = 86_400.0


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Sender(_Model):
    """The tenant.  dkim: who signs for its domains"""

    legal_name: str = "Acme Outreach Ltd"
    trading_name: str = ""
    postal_address: str = "1 Main Street, Springfield, IL 62701, USA"
    contact: str = "abuse@acme.example"
    privacy_policy: str = "https://acme.example/privacy"
    domains: tuple[str, ...] = ("acme.example",)
    dkim: Literal["relay", "client", "none"] = "relay"


class Setup(_Model):
    """setup.yaml

    sender      the envelope's address
    to          the envelope's recipients, the same for every message
    suppressed  addresses that opted out
    consents    address -> the basis on which it agreed, to every purpose and a day ago
    dns         name -> type -> records, in place of what is made up
    """

    tenant: Sender = Sender()
    sender: Annotated[str, Field(alias="from")] = "news@acme.example"
    to: tuple[str, ...] = ("bob@customer.example",)
    stream: Literal["marketing", "transactional"] = "marketing"
    suppressed: tuple[str, ...] = ()
    consents: dict[
        str, Literal["opt-in", "double-opt-in", "explicit", "requested", "existing-customer", "inquiry"]
    ] = {}
    dns: dict[str, dict[str, tuple[str, ...]]] = {}
    at: float = NOON


@dataclass(frozen=True, slots=True)
class Trial:
    """One message: what was expected of it, and what became of it.

    why  "" where it is as expected
    """

    file: Path
    expected: str
    check: str
    result: Examined
    why: str


@dataclass(slots=True)
class Trials:
    """folder  of the messages"""

    policy: Policy
    folder: Path
    setup: Setup = field(default_factory=Setup)
    phrases: Phrases = field(default_factory=Phrases)

    @classmethod
    def beside(cls, file: Path, folder: Path | None = None) -> Trials:
        """The messages of a policy file.  Raises FileError with every problem of policy and setup."""
        policies = Policies.beside(file)
        folder = folder or file.with_suffix("")
        return cls(policies.get(file.stem), folder, read_setup(folder / "setup.yaml"))

    def files(self) -> list[tuple[str, Path]]:
        """(folder, file) of every message, in their order."""
        return [(name, path) for name in FOLDERS for path in sorted((self.folder / name).glob("*.eml"))]

    def strangers(self) -> list[str]:
        """Folders and checks that mean nothing, in words: a test that is never run looks like one that passes."""
        found = []
        for path in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            if path.is_dir() and path.name not in FOLDERS:
                found.append(f"{path}: not one of {', '.join(FOLDERS)}{near(path.name, FOLDERS)}")
        names = {rule.check.name for rules in self.policy.rules.values() for rule in rules}
        for name, path in self.files():
            check = path.name.partition(".")[0]
            if name != "pass" and check not in names:
                found.append(f"{path}: policy {self.policy.name!r} has no check {check!r}{near(check, names)}")
        return found

    async def run(self) -> list[Trial]:
        return [await self.one(name, path) for name, path in self.files()]

    async def one(self, expected: str, path: Path) -> Trial:
        check = "" if expected == "pass" else path.name.partition(".")[0]
        result = await self.judge(await asyncio.to_thread(path.read_bytes), repairs=expected == "repair")
        return Trial(path, expected, check, result, _unlike(expected, check, result))

    async def judge(self, raw: bytes, to: Sequence[str] = (), *, repairs: bool = False) -> Examined:
        setup = self.setup
        given = setup.tenant
        dns = StaticResolver(_zone(setup), everything)
        directory = MemoryDirectory([_tenant(self.policy.name, given)])
        recipients = MemoryRecipients()
        await recipients.add(
            [entry("address", one, "opt-out", now=setup.at, tenant="acme") for one in setup.suppressed]
        )
        agreed = [
            Record("acme", parse(text).exact, basis, "all", setup.at - DAY, source="setup.yaml", ip="192.0.2.1")
            for text, basis in setup.consents.items()
        ]
        await recipients.consents.add(agreed)
        tenant = directory.tenant("acme")
        assert tenant is not None
        return await examine(
            as_received(raw, LARGEST),
            tenant=tenant,
            policy=self.policy,
            stream=setup.stream,
            sender=setup.sender,
            to=to or setup.to,
            tools=Tools(
                dns=dns,
                authentication=DomainAuthentication(dns, [EGRESS], clock=lambda: setup.at),
                quotas=MemoryQuotas(),
                installation="0123456789abcdef",
                missing={"session": "no-session"},
                lists=Lists(),
                sightings=MemorySightings(),
                directory=directory,
                phrases=self.phrases,
                encrypted=lambda tenant: True,
                repairs=Repairs(Footers(), Unsubscribe([bytes(32)], "https://relay.example")) if repairs else None,
            ),
            recipients=recipients,
            now=setup.at,
        )


def read_setup(path: Path) -> Setup:
    """Raises FileError with every problem."""
    if not path.exists():
        return Setup()
    try:
        document = Document.read(path.read_bytes(), str(path))
    except OSError as error:
        raise FileError([f"{path}: cannot be read: {error.strerror}"]) from None
    setup = document.check(Setup) if not document.problems else None
    if setup is not None:
        texts: list[tuple[Path_, str]] = [(("from",), setup.sender)]
        texts += [((name, i), one) for name in ("to", "suppressed") for i, one in enumerate(getattr(setup, name))]
        texts += [(("consents", one), one) for one in setup.consents]
        for place, text in texts:
            try:
                parse(text)
            except BadAddress as error:
                document.problem(place, f"not a mail address: {error}")
    if setup is None or document.problems:
        raise FileError(document.lines())
    return setup


def _unlike(expected: str, check: str, result: Examined) -> str:
    """In what the outcome is not as expected, "" for in nothing."""
    if expected == "pass":
        if result.passes:
            return ""
        because = ", ".join(dict.fromkeys(f"{f.check} ({f.then})" for f in result.findings if str(f.then) != "record"))
        return f"would not go through: {because}"
    if expected == "repair":
        return "" if check in result.repairs and result.passes else f"{check} repairs nothing here"
    then = [str(finding.then) for finding in result.findings if finding.check == check]
    if not then:
        found = ", ".join(dict.fromkeys(finding.check for finding in result.findings)) or "nothing"
        return f"{check} does not find anything (found: {found})"
    return "" if expected in then else f"{check} comes to {then[0]}"


def _tenant(policy: str, given: Sender) -> Tenant:
    profile = Profile(
        legal_name=given.legal_name,
        trading_name=given.trading_name,
        postal_address=given.postal_address,
        contact=given.contact,
        privacy_policy=given.privacy_policy,
        verified=True,
    )
    by: Any = None if given.dkim == "none" else given.dkim
    domains = tuple(Domain(name, "acme", verified=True, dkim_by=by, selector="s1") for name in given.domains)
    return Tenant("acme", policy, profile, domains=domains)


def _zone(setup: Setup) -> Mapping[str, Any]:
    zone: dict[str, Any] = {}
    for name in setup.tenant.domains:
        zone[name] = {"MX": [f"10 mx.{name}"], "TXT": [f"v=spf1 ip4:{EGRESS} -all"]}
        zone[f"_dmarc.{name}"] = {"TXT": ["v=DMARC1; p=none"]}
    zone.update({name: {type: list(records) for type, records in types.items()} for name, types in setup.dns.items()})
    return zone


def tally(trials: Sequence[Trial]) -> Iterator[tuple[str, int, int]]:
    """(folder, as expected, in all) for each folder that has messages."""
    for name in FOLDERS:
        of = [trial for trial in trials if trial.expected == name]
        if of:
            yield name, sum(not trial.why for trial in of), len(of)
