"""`aup-relay domain`: the domains that tenants send from, what their DNS must say, and our DKIM keys."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

from relay.address import BadAddress, domain_name
from relay.cli.shell import Group, Shell, fail, json_option, near, open_store, progress, show, when
from relay.cli.tenant import not_misspelt
from relay.config import ConfigError
from relay.config import read_key as read_pem
from relay.dns import dkim, ownership, published
from relay.dns.published import Claim, Key, Publish
from relay.dns.resolver import Resolver
from relay.domain_state import KINDS, STAGES, Record, Seen, left
from relay.jobs.domain_watch import asked, write
from relay.keys import Keys, KeysError
from relay.model import Tenant
from relay.notice import zone_line
from relay.ports import Unavailable
from relay.stores.canary import open_keys
from relay.stores.database import Database
from relay.stores.domain_keys import AGING, SETTLE, DomainKey, DomainKeys, Seal, replaced
from relay.stores.domain_watch import DomainWatch, Look
from relay.stores.tenants import Conflict, Tenants
from relay.tokens import reference

SELECTOR = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9_])?\Z")
LONGEST, _LONGEST_NAME = 63, 253
"""Octets of a DNS label, and of a whole name as it is written (RFC 1035 section 2.3.4)."""
tenant_option = click.option("--tenant", metavar="ID", help="Whose claim, if several tenants claim the domain.")


@dataclass(frozen=True, slots=True)
class Known:
    """A domain as the file or the store has it."""

    domain: str
    tenant: str
    verified: bool
    dkim: str
    selectors: tuple[str, ...]
    key_file: str
    checked: str
    source: str  # file or store


async def known_domains(config: Any, tenants: Tenants) -> list[Known]:
    """Of the file first, then of the store; a claim on a domain of the file only says whether it is verified."""
    claims = {(row.tenant, row.name): row for row in await tenants.domains()}
    found = []
    for id, tenant in config.tenants.items():
        for name, domain in tenant.domains.items():
            claim = claims.pop((id, name), None)
            verified = bool(domain.verified or (claim and claim.verified))
            checked = when(claim.checked) if claim else ""
            selectors: tuple[str, ...] = ()
            by = key_file = ""
            if signing := domain.dkim:
                ours = signing.ours()
                selectors = signing.selectors or tuple(selector for selector, _ in ours)
                by, key_file = signing.by, ", ".join(str(file) for _, file in ours)
            found.append(Known(name, id, verified, by, selectors, key_file, checked, "file"))
    for row in claims.values():
        selectors = row.selectors or ((row.selector,) if row.selector else ())
        found.append(
            Known(
                domain=row.name,
                tenant=row.tenant,
                verified=row.verified,
                dkim=row.dkim_by or "",
                selectors=selectors,
                key_file=row.key_file,
                checked=when(row.checked),
                source="store",
            )
        )
    return found


class Desk:
    """The configuration, the store, its keys, and the DNS, as one command uses them."""

    def __init__(self, config: Any, database: Database, keys: Keys) -> None:
        self.config = config
        self.database = database
        self.tenants = Tenants(database)
        self.keys = keys
        self.signing = DomainKeys(database)
        self.watch = DomainWatch(database)
        self.dns = self._resolver()

    def _resolver(self) -> Resolver:
        return Resolver(list(self.config.dns.nameservers) or None, self.config.dns.timeout)

    async def afresh(self) -> None:
        """Forget what the DNS said."""
        await self.dns.close()
        self.dns = self._resolver()

    async def find(self, domain: str, tenant: str | None) -> Known:
        """The one claim that is meant; exit 2 if there is none, or more than one."""
        name = _domain(domain)
        known = await known_domains(self.config, self.tenants)
        claims = [claim for claim in known if claim.domain == name and tenant in (None, claim.tenant)]
        if not claims:
            whose = f" of {tenant}" if tenant else ""
            close = near(name, {claim.domain for claim in known}) or f"; add it with: domain add {name} --tenant ID"
            fail(f"no domain {name!r}{whose}{close}")
        verified = [claim for claim in claims if claim.verified]
        if len(claims) > 1 and len(verified) != 1:
            fail(f"{name} is claimed by {', '.join(claim.tenant for claim in claims)}; say which with --tenant")
        return (verified or claims)[0]

    async def keys_of(self, claim: Known) -> list[DomainKey]:
        """What the relay signs the domain's mail with, has prepared for that, or has retired."""
        if claim.source == "store":
            return await self.signing.all(claim.domain, claim.tenant)
        declared = self.config.tenants[claim.tenant].domains[claim.domain].dkim
        return [
            DomainKey(claim.domain, claim.tenant, selector, key_file=str(file), state="signing")
            for selector, file in (declared.ours() if declared is not None else ())
        ]

    def token(self, claim: Known) -> str:
        return ownership.value(self.keys.master, claim.tenant, claim.domain)

    async def claim(self, known: Known) -> Claim:
        """What the tenant's mail needs of the domain."""
        declared = self.config.tenants[known.tenant].domains.get(known.domain) if known.source == "file" else None
        keys = [] if known.dkim == "client" else await self.keys_of(known)
        return Claim(
            domain=known.domain,
            tenant=known.tenant,
            token=self.token(known),
            proven=declared is not None and declared.verified,
            egress=self.config.egress,
            envelope=self.config.envelope_domain(await self._tenant(known.tenant)),
            by=known.dkim,
            keys=tuple(_as_key(key) for key in keys if key.state != "retired"),
            selectors=known.selectors,
        )

    async def _tenant(self, id: str) -> Tenant:
        """With its next hop, on which the envelope depends."""
        declared: list[Tenant] = self.config.file_tenants(keys=False)
        for tenant in declared:
            if tenant.id == id:
                return tenant
        return await self.tenants.get(id) or Tenant(id, "")

    async def publish(self, known: Known) -> list[Publish]:
        """Every record the domain needs, compared with what is there now."""
        return await published.look(self.dns, await self.claim(known))

    async def selectors(self, known: Known) -> list[Publish]:
        """Every key of the domain that signs or is to, compared with what is published."""
        return await published.selectors(self.dns, await self.claim(known))

    async def our_key(self, key: DomainKey) -> Publish:
        return await published.our_key(self.dns, key.domain, _as_key(key))


def _as_key(key: DomainKey) -> Key:
    try:
        return Key(key.selector, record_of(key), signing=key.state == "signing")
    except ConfigError as error:
        return Key(key.selector, "", f"{key.key_file}: {error}", signing=key.state == "signing")


def _domain(text: str) -> str:
    try:
        return domain_name(text)
    except BadAddress as error:
        fail(f"{text!r}: {error}")


def record_of(key: DomainKey) -> str:
    """What publishes it.  Raises ConfigError: it stands in a file that is none."""
    return key.record or dkim.record(read_pem(Path(key.key_file)).public_key())


@contextlib.asynccontextmanager
async def desk(config: Any) -> AsyncIterator[Desk]:
    async with open_store(config) as database:
        opened = None
        try:
            opened = Desk(config, database, await open_keys(database, config.keys))
            yield opened
        except (KeysError, Conflict) as error:
            fail(str(error))
        finally:
            if opened is not None:
                await opened.dns.close()


@click.group()
def command() -> None:
    """Domains that tenants send from: add, list, verify, show, watch, and their DKIM keys.

    A tenant may send from a domain, and from those below it, once it is verified: by a TXT record
    that `domain add` prints, or by the operator's word in the configuration.
    """


@command.command()
@click.argument("domain")
@click.option("--tenant", required=True, metavar="ID", help="Who sends from it.")
@click.option("--dkim", "by", type=click.Choice(["client", "next-hop"]), help="Who signs, if not the relay.")
@click.option("--selector", "selectors", multiple=True, metavar="S", help="A selector of the next hop's.")
@json_option
@click.pass_obj
def add(shell: Shell, domain: str, tenant: str, by: str | None, selectors: tuple[str, ...], as_json: bool) -> None:
    """Claim DOMAIN for a tenant and say which record proves that it is theirs."""
    config = shell.config()
    name = _domain(domain)
    for selector in selectors:
        _selector(selector)
    if by == "next-hop" and not selectors:
        fail("--dkim next-hop needs the selectors under which its keys are published: --selector S")
    if selectors and by != "next-hop":
        fail("--selector is for --dkim next-hop; `domain key add` names the selector of a key of ours")

    async def main() -> None:
        async with desk(config) as at:
            if tenant in config.tenants:
                fail(f"the tenant {tenant!r} stands in {config.file}; declare its domains there")
            if await at.tenants.get(tenant) is None:
                ids = [known.id for known in await at.tenants.all()]
                fail(f"no tenant {tenant!r}{near(tenant, ids)}")
            value = ownership.value(at.keys.master, tenant, name)
            _not_of_another(config, name, tenant)
            new = await at.tenants.domain(name, tenant) is None
            row = await at.tenants.claim(tenant, name, value, time.time())
            if new:
                await shell.record(config, at.database, "domain added", tenant=tenant, note=name)
            if by:
                for key in await at.signing.all(name, tenant):
                    if key.state != "retired":
                        await at.signing.retire(name, tenant, key.selector, time.time())
                row = await at.tenants.set_domain(
                    name, tenant, dkim_by=by, selectors=selectors, selector="", key_file=""
                )
            if as_json:
                record = {"name": ownership.name(name), "type": "TXT", "value": value}
                click.echo(json.dumps({"domain": name, "tenant": tenant, "verified": row.verified, "publish": record}))
                return
            if row.verified:
                click.echo(f"{name} is verified for {tenant} already")
                return
            click.echo(f"{name} is claimed by {tenant}.  To prove it, publish:\n")
            click.echo(_zone_line(ownership.name(name), value))
            click.echo(f"\nand then: aup-relay domain verify {name}")

    shell.run(main)


@command.command("list")
@click.option("--tenant", metavar="ID", help="Only of this tenant.")
@json_option
@click.pass_obj
def list_(shell: Shell, tenant: str | None, as_json: bool) -> None:
    """List the domains of the configuration and of the store, and what their DNS is like.

    STATE is that of the last look of the running relay; `domain show` asks now.
    """
    config = shell.config()

    async def main() -> None:
        async with open_store(config) as database:
            known = await known_domains(config, Tenants(database))
            looks = await DomainWatch(database).looks()
            rows = []
            for claim in known:
                if tenant in (None, claim.tenant):
                    look = looks.get((claim.domain, claim.tenant), Look())
                    stages = {kind: record.stage for kind, record in look.records.items()}
                    looked = {"state": _state(look), "records": stages, "looked": when(look.looked)}
                    rows.append({**asdict(claim), **looked})
            await not_misspelt(config, database, tenant, rows)
            columns = ("domain", "tenant", "verified", "dkim", "selectors", "checked", "source", "state")
            show(rows, as_json, columns, empty="no domains; add one with: domain add DOMAIN --tenant ID")

    shell.run(main)


@command.command()
@click.argument("domain")
@tenant_option
@json_option
@click.pass_obj
def verify(shell: Shell, domain: str, tenant: str | None, as_json: bool) -> None:
    """Look for the record that proves ownership of DOMAIN.  Exit 1 if it is not there.

    The keys that sign its mail are looked for too, each under its selector.
    """
    config = shell.config()

    async def main() -> bool:
        async with desk(config) as at:
            claim = await at.find(domain, tenant)
            _not_of_another(config, claim.domain, claim.tenant)
            value = at.token(claim)
            why = ""
            try:
                good = await ownership.verify(at.dns, at.keys.master, claim.tenant, claim.domain)
            except Unavailable as outage:
                good, why = False, f"DNS did not answer ({outage.why}); try again"
            if good:
                now = time.time()
                if claim.source == "file":
                    await at.tenants.claim(claim.tenant, claim.domain, value, now)
                await _take_over(shell, config, at, claim, now)
                await at.tenants.set_domain(claim.domain, claim.tenant, verified=True, checked=now)
                if not claim.verified:
                    await shell.record(config, at.database, "domain verified", tenant=claim.tenant, note=claim.domain)
                await _look(config, at, replace(claim, verified=True))
            verified = good or claim.verified
            selectors = await at.selectors(claim)
            if as_json:
                result = {"domain": claim.domain, "tenant": claim.tenant, "verified": verified, "found": good}
                record = {"name": ownership.name(claim.domain), "type": "TXT", "value": value}
                click.echo(
                    json.dumps({**result, "why": why, "publish": record, "dkim": [asdict(each) for each in selectors]})
                )
            elif good:
                click.echo(f"{claim.domain} is verified for {claim.tenant}")
            else:
                line = _zone_line(ownership.name(claim.domain), value)
                click.echo(why or f"the record was not found; publish:\n\n{line}")
                if claim.verified:
                    click.echo(f"\n{claim.domain} stays verified for {claim.tenant}")
            if not as_json:
                for each in selectors:
                    found = f" ({_safe(each.found)})" if each.state != "ok" else ""
                    click.echo(f"dkim: {each.name}: {each.state}{found}")
            return good

    if not shell.run(main):
        sys.exit(1)


def _not_of_another(config: Any, name: str, tenant: str) -> None:
    """Exit 2 if the configuration says that the domain is another tenant's: no DNS record takes it away from there."""
    for id, other in config.tenants.items():
        if id != tenant and (declared := other.domains.get(name)) is not None and declared.verified:
            fail(f"{name} stands in {config.file} as a verified domain of {id}; take it out there first")


async def _take_over(shell: Shell, config: Any, at: Desk, claim: Known, now: float) -> None:
    """Whoever had it before, by a record that is gone, has it no more.  A DNS that does not answer changes nothing."""
    before = await at.tenants.domain(claim.domain)
    if before is None or not before.verified or before.tenant == claim.tenant:
        return
    try:
        if await ownership.verify(at.dns, at.keys.master, before.tenant, claim.domain):
            return
    except Unavailable:
        return
    note = f"{claim.domain}: now of {claim.tenant}, whose record is there; that of {before.tenant} is gone"
    ref = await shell.record(config, at.database, "domain passed on", tenant=before.tenant, note=note)
    await at.watch.pass_on(claim.domain, before.tenant, claim.tenant, now=now, ref=ref)


@command.command("show")
@click.argument("domain")
@tenant_option
@json_option
@click.pass_obj
def show_(shell: Shell, domain: str, tenant: str | None, as_json: bool) -> None:
    """Say what DOMAIN must publish (ownership, SPF, DKIM, DMARC, MX), what is there now, and what follows.

    What is missing is shown for a zone file and for the form of a registrar.  Exit 1 if a record is
    missing or wrong.
    """
    config = shell.config()

    async def main() -> bool:
        async with desk(config) as at:
            known = await at.find(domain, tenant)
            claim = await at.claim(known)
            records = await published.look(at.dns, claim)
            look = (await at.watch.looks()).get((known.domain, known.tenant), Look())
            graces = config.dns.watch.graces()
            good = not any(record.state in ("missing", "wrong") for record in records)
            if as_json:
                click.echo(
                    json.dumps(
                        {
                            **asdict(known),
                            "good": good,
                            "state": _state(look),
                            "looked": when(look.looked),
                            "next_look": when(look.due),
                            "records": {kind: _as_json(r, graces[kind]) for kind, r in look.records.items()},
                            "publish": [_to_publish(record) for record in records],
                        },
                        indent=2,
                    )
                )
                return good
            signer = {"relay": "the relay", "client": "the client", "next-hop": "the next hop"}.get(known.dkim)
            click.echo(f"{known.domain}, tenant {known.tenant}: {'verified' if known.verified else 'not verified'}")
            if signer:
                click.echo(f"signed by {signer}{' with ' + ', '.join(known.selectors) if known.selectors else ''}")
            else:
                click.echo("nobody is declared to sign; `domain key add` lets the relay do it")
            if look.looked:
                click.echo(f"looked at {when(look.looked)}, next {when(look.due)}")
            else:
                click.echo("not looked at yet: the running relay looks at what is verified")
            shown = set()
            for record in records:
                _print_record(record)
                if record.what in look.records and record.what not in shown:
                    shown.add(record.what)
                    for line in _history(look.records[record.what], graces[record.what]):
                        click.echo(f"  {line}")
            return good

    if not shell.run(main):
        sys.exit(1)


def _to_publish(record: Publish) -> dict[str, Any]:
    zone = _zone_line(record.name, record.value).strip() if record.value and record.type == "TXT" else ""
    return {**asdict(record), "strings": _strings(record.value), "zone": zone}


def _print_record(record: Publish) -> None:
    click.echo(f"\n{record.what}: {record.state}")
    if record.state in ("missing", "wrong", "unknown") and record.value:
        click.echo(_zone_line(record.name, record.value))
        click.echo(f"  or in a form:  name   {record.name}")
        click.echo(f"                 type   {record.type}")
        # Whole, or what was copied publishes half a key.
        click.echo(f"                 value  {_safe(record.value, None)}")
    elif record.what == "mx" and record.state != "ok":
        click.echo(f"  {record.name}. IN MX 10 the.name.of.its.mail.server.")
    else:
        click.echo(f"  {record.name}")
    if record.found and record.state != "ok":
        click.echo(f"  now: {_safe(record.found)}")
    for hint in record.hints:
        click.echo(f"  hint: {_safe(hint)}")


def _history(record: Record, grace: float) -> list[str]:
    """What the watch knows of a record, in sentences."""
    if record.stage == "new":
        return ["watch: never seen well, so it has no grace"]
    lines = [f"watch: {_STAGES[record.stage]} since {when(record.since)}"]
    if record.broken:
        lines.append(f"  gone since {when(record.broke)}: {_safe(record.why)}")
        defers, refuses = left(record, grace)
        if defers is not None:
            lines.append(f"  mail goes out; if it stays so it is put off (451) in {_span(defers)}")
        if refuses is not None:
            lines.append(f"  mail is refused (554) in {_span(refuses)}")
    if record.outage is not None:
        lines.append(f"  the DNS does not answer since {when(record.outage)}; until it does, nothing changes")
    return lines


def _as_json(record: Record, grace: float) -> dict[str, Any]:
    defers, refuses = left(record, grace) if record.broken else (None, None)
    return {
        "stage": record.stage,
        "since": when(record.since),
        "gone_since": when(record.broke),
        "last_well": when(record.well),
        "looked": when(record.looked),
        "no_answer_since": when(record.outage),
        "why": record.why,
        "deferred_in": defers,
        "refused_in": refuses,
        "told": record.told,
    }


_STAGES = {"well": "well", "warn": "broken, mail goes out", "defer": "broken, mail is put off", "refuse": "refused"}


def _state(look: Look) -> str:
    """The worst of a domain: "spf: defer", or ok, or "" where nobody looked yet."""
    broken = [record for record in look.records.values() if record.broken]
    if broken:
        broken.sort(key=lambda record: -STAGES.index(record.stage))
        return ", ".join(f"{record.kind}: {record.stage}" for record in broken)
    if not look.records:
        return ""
    fresh = [record.kind for record in look.records.values() if record.stage == "new"]
    return f"{', '.join(fresh)}: not there yet" if fresh else "ok"


def _span(seconds: float) -> str:
    """`3.5 days`, `40 minutes`."""
    for size, unit in ((86400, "day"), (3600, "hour")):
        if seconds >= size:
            count = f"{seconds / size:.3g}"
            return f"{count} {unit}{'s' * (count != '1')}"
    return f"{max(1, round(seconds / 60))} minutes"


@command.command("watch")
@click.argument("domain", required=False)
@click.option("--once", is_flag=True, help="Look once, and not again every minute until all is well.")
@tenant_option
@json_option
@click.pass_obj
def watch_(shell: Shell, domain: str | None, once: bool, tenant: str | None, as_json: bool) -> None:
    """Look at the DNS of DOMAIN, or of every verified domain, now, as the running relay does by itself.

    What is found counts: a record that is there again lets mail go out at once; one that is gone is
    told of, and its grace begins.  Without --once it looks every minute until everything is well, for
    who has just changed a zone.  Exit 1 if something is missing or wrong.

    \b
      aup-relay domain watch acme.example
      aup-relay domain watch --once --json
    """
    config = shell.config()

    async def main() -> bool:
        async with desk(config) as at:
            chosen = [await at.find(domain, tenant)] if domain is not None else []
            while True:
                known = chosen or [
                    claim
                    for claim in await known_domains(config, at.tenants)
                    if claim.verified and tenant in (None, claim.tenant)
                ]
                rows = []
                for claim in progress(known, "domains", len(known)):
                    rows += await _look(config, at, claim)
                good = not any(row["now"] in ("broken", "no answer") for row in rows)
                columns = ("domain", "tenant", "record", "now", "state", "why")
                show(rows, as_json, columns, empty="no verified domain to look at; see: domain list")
                if once or good:
                    return good
                await asyncio.sleep(60.0)
                await at.afresh()

    if not shell.run(main):
        sys.exit(1)


async def _look(config: Any, at: Desk, known: Known) -> list[dict[str, Any]]:
    """One look, stored as the job's are; a domain that is not verified is only shown."""
    claim, now = await at.claim(known), time.time()
    try:
        found = await asked(at.dns, claim)
        seen = published.summary(claim, found)
    except Unavailable as outage:
        found, seen = [], {kind: Seen(kind, None, outage.why) for kind in KINDS}
    look = (await at.watch.looks()).get((known.domain, known.tenant), Look())
    lost = look.records.get("ownership", Record("ownership")).broken
    if not known.verified and lost:
        seen = {kind: each for kind, each in seen.items() if kind == "ownership"}
    if known.verified or lost:
        ref = reference(os.urandom(16))
        settings = config.dns.watch
        await write(at.watch, claim, seen, found, settings, now, random.random(), ref, lambda event: None)
        look = (await at.watch.looks()).get((known.domain, known.tenant), Look())
    words = {True: "ok", False: "broken", None: "no answer"}
    return [
        {
            "domain": known.domain,
            "tenant": known.tenant,
            "record": kind,
            "now": words[each.well],
            "state": look.records[kind].stage if kind in look.records else "",
            "why": each.why,
        }
        for kind, each in seen.items()
    ]


@command.group(cls=Group)
def key() -> None:
    """The keys that the relay signs a domain's mail with.

    \b
      aup-relay domain key add acme.example       an RSA and an Ed25519 key, and what to publish
      aup-relay domain key rotate acme.example    new ones: publish them, and they take over by themselves
      aup-relay domain key list acme.example      which sign, which wait, which records may go

    A mail gets a signature of each key that signs.  Private keys lie in the store, encrypted under
    master.key; those of domains in the configuration lie in the files it names.
    """


_KINDS = ("rsa", "ed25519")
type_option = click.option(
    "--type", "kind", type=click.Choice(["both", *_KINDS]), default="both", show_default=True, help="rsa: 2048 bits."
)
selector_option = click.option(
    "--selector", metavar="S", help="The name under which it is published; made from the date if left out."
)


@key.command("add")
@click.argument("domain")
@selector_option
@type_option
@tenant_option
@json_option
@click.pass_obj
def key_add(shell: Shell, domain: str, selector: str | None, kind: str, tenant: str | None, as_json: bool) -> None:
    """Make DKIM keys for DOMAIN and say what to publish.

    Every receiver knows RSA; Ed25519 (RFC 8463) is smaller, and not verified by all of them, so mail
    is signed with both.  The first keys of a domain that nobody signs for sign at once; others when
    the DNS shows them.
    """
    config = shell.config()

    async def main() -> None:
        async with desk(config) as at:
            claim = await at.find(domain, tenant)
            _of_the_store(config, claim)
            there = [each for each in await at.keys_of(claim) if each.state != "retired"]
            have = {_kind(each): each.selector for each in there}
            wanted = [each for each in (_KINDS if kind == "both" else (kind,)) if each not in have]
            if not wanted:
                names = " and ".join(f"{name} ({selector})" for name, selector in have.items())
                fail(f"{claim.domain} has {names} already; new ones are made with: domain key rotate {claim.domain}")
            first = not there and not claim.dkim
            made = await _make(at, claim, wanted, selector, replaces=False, sign=first)
            act = "domain key added" if first else "domain key prepared"
            await shell.record(config, at.database, act, tenant=claim.tenant, note=_note(claim, made))
            if first:
                click.echo("mail of this domain is signed with them from now on: publish them at once", err=True)
            else:
                click.echo(_waiting(claim), err=True)
            _print_keys(made, as_json)

    shell.run(main)


@key.command("rotate")
@click.argument("domain")
@selector_option
@type_option
@click.option("--activate", is_flag=True, help="Sign with the prepared keys now, if the DNS shows them.")
@click.option("--force", is_flag=True, help="With --activate: do not ask the DNS.")
@tenant_option
@json_option
@click.pass_obj
def key_rotate(
    shell: Shell,
    domain: str,
    selector: str | None,
    kind: str,
    activate: bool,
    force: bool,
    tenant: str | None,
    as_json: bool,
) -> None:
    """Replace DOMAIN's keys: make new ones and say what to publish.

    The running relay looks for the new records and signs with the new keys, and no longer with the
    old ones, once the DNS has shown them for ten minutes; --activate does so at once.  The old records
    must stay for seven days more, until the mail they signed has arrived.  With --type, keys of the
    other kind stay and go on signing.

    \b
      aup-relay domain key rotate acme.example
      aup-relay domain key rotate acme.example --activate      exit 1 if a record is not there yet
    """
    config = shell.config()
    if force and not activate:
        fail("--force goes with --activate")

    async def main() -> bool:
        async with desk(config) as at:
            claim = await at.find(domain, tenant)
            _of_the_store(config, claim)
            keys = await at.keys_of(claim)
            prepared = [each for each in keys if each.state == "prepared"]
            signing = [each for each in keys if each.state == "signing"]
            if activate:
                if not prepared:
                    fail(f"no key of {claim.domain} waits; make new ones with: domain key rotate {claim.domain}")
                return await _activate(shell, config, at, claim, prepared, signing, force, as_json)
            if not prepared and not signing:
                fail(f"the relay has no key for {claim.domain}; make one with: domain key add {claim.domain}")
            if not prepared:
                kinds = list(_KINDS) if kind == "both" else [kind]
                prepared = await _make(at, claim, kinds, selector, replaces=True, sign=False)
                await shell.record(
                    config, at.database, "domain key prepared", tenant=claim.tenant, note=_note(claim, prepared)
                )
            click.echo(_waiting(claim), err=True)
            _print_keys(prepared, as_json)
            return True

    if not shell.run(main):
        sys.exit(1)


async def _activate(
    shell: Shell,
    config: Any,
    at: Desk,
    claim: Known,
    prepared: Sequence[DomainKey],
    signing: Sequence[DomainKey],
    force: bool,
    as_json: bool,
) -> bool:
    looked = [] if force else [await at.our_key(each) for each in prepared]
    good = all(each.state == "ok" for each in looked)
    now = time.time()
    if good and not await at.signing.activate(prepared, now):
        fail("the keys of this domain were changed meanwhile; see: domain key list")
    if good:
        note = _note(claim, prepared)
        await shell.record(config, at.database, "domain key activated", tenant=claim.tenant, note=note)
    old = replaced(signing, prepared) if good else []
    now_signing = [*(each for each in signing if each not in old), *prepared] if good else signing
    if as_json:
        click.echo(
            json.dumps(
                {
                    "domain": claim.domain,
                    "tenant": claim.tenant,
                    "activated": good,
                    "signing": [each.selector for each in now_signing],
                    "retired": [each.selector for each in old],
                    "remove_after": when(now + AGING) if old else None,
                    "publish": [asdict(each) for each in looked],
                }
            )
        )
        return good
    if not good:
        for each in looked:
            if each.state != "ok":
                click.echo(f"{each.name}: {each.state} ({_safe(each.found)}); publish:\n")
                click.echo(f"{_zone_line(each.name, each.value)}\n")
        click.echo(f"mail of {claim.domain} is signed as before")
        return False
    click.echo(f"mail of {claim.domain} is signed with {', '.join(each.selector for each in now_signing)} from now on")
    for key in old:
        click.echo(f"keep {key.selector}._domainkey.{claim.domain} until {when(now + AGING)}, then remove it")
    return True


@key.command("retire")
@click.argument("domain")
@click.argument("selector")
@click.option("--compromised", is_flag=True, help="Somebody else may have it: delete it now, and revoke its record.")
@click.option("--last", is_flag=True, help="Although it is the last one (of RSA, which every receiver verifies).")
@tenant_option
@click.pass_obj
def key_retire(shell: Shell, domain: str, selector: str, compromised: bool, last: bool, tenant: str | None) -> None:
    """Sign no more with the key of DOMAIN under SELECTOR.

    Its record must stay for seven days, until the mail that it signed has arrived; its private key is
    deleted then.  A key that has signed nothing yet is forgotten at once.
    """
    config = shell.config()

    async def main() -> None:
        async with desk(config) as at:
            claim = await at.find(domain, tenant)
            _of_the_store(config, claim)
            keys = {each.selector: each for each in await at.keys_of(claim)}
            name = selector.lower()
            if name not in keys:
                fail(f"{claim.domain} has no key for the selector {selector!r}{near(name, keys)}")
            was = keys[name]
            if was.state == "retired" and not compromised:
                fail(f"{name} is retired already")
            others = [each for each in keys.values() if each.state == "signing" and each is not was]
            if was.state == "signing" and not others and not last:
                fail(
                    f"{name} is the last key of {claim.domain}: its mail would go out unsigned.  Make another with"
                    f" `domain key rotate {claim.domain}`, or say --last"
                )
            others = [each for each in others if each.kind != "ed25519"]
            if was.state == "signing" and was.kind == "rsa" and not others and not last:
                fail(
                    f"{name} is the last RSA key of {claim.domain}, and many receivers verify no other kind.  Make"
                    f" another with `domain key rotate {claim.domain}`, or say --last"
                )
            now = time.time()
            await at.signing.retire(claim.domain, claim.tenant, name, now, delete=compromised)
            if compromised and was.key_file and Path(was.key_file).parent == config.keys.absolute() / "dkim":
                await asyncio.to_thread(Path(was.key_file).unlink, missing_ok=True)
            note = f"{claim.domain}: {name}{', compromised' if compromised else ''}"
            await shell.record(config, at.database, "domain key retired", tenant=claim.tenant, note=note)
            record = f"{name}._domainkey.{claim.domain}"
            if was.state == "prepared" and not compromised:
                click.echo(f"{name} is forgotten; if {record} is published, remove it")
            elif compromised:
                # RFC 6376 section 3.6.1: an empty p= says that the key was revoked.
                click.echo(f"{name} signs no more and is deleted; publish at once, in place of what is there:\n")
                click.echo(_zone_line(record, "v=DKIM1; p="))
            else:
                click.echo(f"{name} signs no more; keep {record} until {when(now + AGING)}, then remove it")

    shell.run(main)


@key.command("list")
@click.argument("domain", required=False)
@tenant_option
@json_option
@click.pass_obj
def key_list(shell: Shell, domain: str | None, tenant: str | None, as_json: bool) -> None:
    """List the keys of DOMAIN, or of every domain: which sign, which wait, which records may be removed."""
    config = shell.config()

    async def main() -> None:
        async with desk(config) as at:
            if domain is not None:
                claims = [await at.find(domain, tenant)]
            else:
                claims = [each for each in await known_domains(config, at.tenants) if tenant in (None, each.tenant)]
            now = time.time()
            rows = [_row(each, claim, now) for claim in claims for each in await at.keys_of(claim)]
            columns = ("domain", "tenant", "selector", "type", "state", "since", "record")
            show(rows, as_json, columns, empty="no keys; make them with: domain key add DOMAIN")

    shell.run(main)


def _row(key: DomainKey, claim: Known, now: float) -> dict[str, Any]:
    said = "publish it"
    if key.state == "prepared" and key.seen is not None:
        said = f"published; signs after {when(key.seen + SETTLE)}"
    elif key.state == "signing":
        said = "keep it"
    elif key.retired is not None:
        over = key.retired + AGING
        said = "remove it" if now >= over else f"keep it until {when(over)}"
        if key.deleted is not None and now < over:
            said = "revoke it (p=)"
    return {
        "domain": key.domain,
        "tenant": key.tenant,
        "selector": key.selector,
        "type": _kind(key),
        "state": key.state,
        "replaces": key.replaces,
        "created": when(key.created),
        "since": when(key.retired if key.state == "retired" else key.since if key.state == "signing" else key.created),
        "seen": when(key.seen),
        "remove_after": when(key.retired + AGING) if key.retired is not None else "",
        "deleted": when(key.deleted),
        "key_file": key.key_file,
        "source": claim.source,
        "record": said,
    }


@key.command("show")
@click.argument("domain")
@tenant_option
@json_option
@click.pass_obj
def key_show(shell: Shell, domain: str, tenant: str | None, as_json: bool) -> None:
    """Print the TXT records of DOMAIN's keys, to be copied into its zone.  `domain show` says what is there."""
    config = shell.config()

    async def main() -> None:
        async with desk(config) as at:
            claim = await at.find(domain, tenant)
            keys = [each for each in await at.keys_of(claim) if each.state != "retired"]
            if not keys:
                fail(f"the relay has no key for {claim.domain}; make one with: domain key add {claim.domain}")
            _print_keys(keys, as_json)

    shell.run(main)


def _of_the_store(config: Any, claim: Known) -> None:
    if claim.source == "file":
        fail(f"{claim.domain} stands in {config.file}; name its keys there (dkim: {{by: relay, keys: [...]}})")


def _kind(key: DomainKey) -> str:
    """rsa or ed25519; "" of a file that cannot be read."""
    try:
        return key.kind or ("ed25519" if "k=ed25519" in record_of(key) else "rsa")
    except ConfigError:
        return ""


def _note(claim: Known, keys: Sequence[DomainKey]) -> str:
    return f"{claim.domain}: {', '.join(each.selector for each in keys)}"


def _waiting(claim: Known) -> str:
    return (
        "publish these; the running relay signs with them once the DNS has shown them for"
        f" {SETTLE / 60:.0f} minutes, or at once after: domain key rotate {claim.domain} --activate"
    )


async def _make(
    at: Desk, claim: Known, kinds: Sequence[str], selector: str | None, *, replaces: bool, sign: bool
) -> list[DomainKey]:
    """New keys of these kinds, sealed into the store."""
    taken = {each.selector for each in await at.keys_of(claim)}
    base = _selector(selector or time.strftime("aup%Y%m", time.gmtime()))
    names = [base + ("e" if kind == "ed25519" and len(kinds) > 1 else "") for kind in kinds]
    if max(map(len, names)) > LONGEST:
        fail(
            f"of the two keys, the Ed25519 one is published under {selector!r} and an e, which is more than the"
            f" {LONGEST} octets of a DNS label: give one of {LONGEST - 1} at most, or make one key with --type"
        )
    if len(name := f"{max(names, key=len)}._domainkey.{claim.domain}") > _LONGEST_NAME:
        fail(f"{name} has {len(name)} octets, and a name in the DNS {_LONGEST_NAME} at most: give a shorter --selector")
    if selector is None:
        number = 1
        while taken & set(names):
            number += 1
            names = [f"{base}-{number}{'e' if kind == 'ed25519' and len(kinds) > 1 else ''}" for kind in kinds]
    elif clash := taken & set(names):
        fail(f"{claim.domain} has a key for the selector {min(clash)} already; name another with --selector")
    seal, now = Seal(at.keys.master), time.time()
    new = []
    for kind, name in zip(kinds, map(_selector, names), strict=True):
        private = await asyncio.to_thread(_generate, kind)
        record = dkim.record(private.public_key())
        made = DomainKey(claim.domain, claim.tenant, name, kind, record, replaces=replaces, created=now)
        new.append((made, seal.seal(private, made)))
    await at.signing.add(new, now, sign=sign)
    return [replace(made, state="signing") if sign else made for made, _ in new]


def _generate(kind: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    return generate_private_key(65537, 2048) if kind == "rsa" else Ed25519PrivateKey.generate()


def _print_keys(keys: Sequence[DomainKey], as_json: bool) -> None:
    found = []
    for each in keys:
        try:
            value = record_of(each)
        except ConfigError as error:
            fail(f"{each.key_file}: {error}")
        found.append((each, f"{each.selector}._domainkey.{each.domain}", value))
    if as_json:
        rows = [
            {
                "domain": each.domain,
                "selector": each.selector,
                "kind": _kind(each),
                "state": each.state,
                "name": name,
                "type": "TXT",
                "value": value,
                "strings": _strings(value),
                "zone": _zone_line(name, value).strip(),
            }
            for each, name, value in found
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    click.echo("for a zone file (BIND and others):\n")
    for _, name, value in found:
        click.echo(_zone_line(name, value))
    click.echo("\nor, where a form asks for it:")
    for _, name, value in found:
        click.echo(f"\nname   {name}\ntype   TXT\nvalue  {value}")


def _selector(text: str) -> str:
    if not SELECTOR.match(text) or ".." in text:
        why = f"it has {len(text)} letters" if len(text) > LONGEST else "it has others, or a dot or hyphen at an end"
        why = "it has two dots in a row" if ".." in text else why
        fail(f"{text!r} is not a selector ({why}): letters, digits, '_', '-' and '.', {LONGEST} at most")
    return text.lower()


def _zone_line(name: str, value: str) -> str:
    return f"  {zone_line(name, value)}"


def _strings(value: str) -> list[str]:
    return [value[i : i + 255] for i in range(0, len(value), 255)]


def _safe(text: str, most: int | None = 500) -> str:
    """What a DNS server said is shown without anything that moves a cursor.  most: characters, None for all"""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:most]
