"""`aup-relay domain`: the domains that tenants send from, what their DNS must say, and our DKIM keys."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from relay.address import BadAddress, domain_name
from relay.cli.shell import Shell, fail, json_option, near, open_store, show, when
from relay.config import ConfigError
from relay.config import read_key as read_pem
from relay.dns import dkim, dmarc, ownership
from relay.dns.authentication import DomainAuthentication
from relay.dns.resolver import Resolver
from relay.keys import Keys, KeysError
from relay.ports import Unavailable
from relay.stores.canary import open_keys
from relay.stores.tenants import Conflict, Tenants

SELECTOR = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9_])?\Z")
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


@dataclass(frozen=True, slots=True)
class Publish:
    """One DNS record that a domain needs.

    value  "" where somebody else knows it
    state  ok, missing, wrong, unknown (DNS did not answer, or we lack a setting)
    found  what the DNS says now, or why the state is what it is
    """

    what: str
    name: str
    type: str
    value: str
    state: str
    found: str


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
                selectors = signing.selectors or ((signing.selector,) if signing.selector else ())
                by, key_file = signing.by, str(signing.key_file or "")
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

    def __init__(self, config: Any, tenants: Tenants, keys: Keys) -> None:
        self.config = config
        self.tenants = tenants
        self.keys = keys
        self.dns = Resolver(list(config.dns.nameservers) or None, config.dns.timeout)

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

    def token(self, claim: Known) -> str:
        return ownership.value(self.keys.master, claim.tenant, claim.domain)

    async def publish(self, claim: Known) -> list[Publish]:
        """Every record the domain needs, compared with what is there now."""
        return list(
            await asyncio.gather(self._ownership(claim), self._spf(claim), *self._dkim(claim), self._dmarc(claim))
        )

    async def _ownership(self, claim: Known) -> Publish:
        name, value = ownership.name(claim.domain), self.token(claim)
        try:
            answer = await self.dns.resolve(name, "TXT")
        except Unavailable as outage:
            return Publish("ownership", name, "TXT", value, "unknown", outage.why)
        if value in answer.records:
            return Publish("ownership", name, "TXT", value, "ok", value)
        return Publish("ownership", name, "TXT", value, _missing(answer.records), "; ".join(answer.records))

    async def _spf(self, claim: Known) -> Publish:
        hop = self.config.next_hop.envelope_domain or ""
        domain = hop or claim.domain
        terms = " ".join(f"{'ip6' if ':' in text else 'ip4'}:{_network(text)}" for text in self.config.egress)
        wanted = f"v=spf1 {terms} -all" if terms else ""
        if not terms:
            return Publish("spf", domain, "TXT", "", "unknown", "no egress addresses are configured")
        try:
            result = await DomainAuthentication(self.dns, self.config.egress, envelope_domain=hop).spf(claim.domain)
            answer = await self.dns.resolve(domain, "TXT")
        except Unavailable as outage:
            return Publish("spf", domain, "TXT", wanted, "unknown", outage.why)
        texts = [text for text in answer.records if text.lower().split(" ")[0] == "v=spf1"]
        if result.result == "pass":
            return Publish("spf", domain, "TXT", texts[0] if texts else wanted, "ok", "; ".join(texts))
        if len(texts) == 1:  # what is there is kept; ours goes before what it says of all others
            said = texts[0].split()
            wanted = " ".join([said[0], *terms.split(), *said[1:]])
        found = f"{result.result} for {result.egress}: {'; '.join(texts) or result.why}"
        return Publish("spf", domain, "TXT", wanted, _missing(texts), found)

    def _dkim(self, claim: Known) -> Sequence[Any]:
        if claim.dkim == "relay" and claim.key_file:
            return [self._our_key(claim)]
        if claim.dkim == "next-hop":
            return [self._their_key(claim, selector) for selector in claim.selectors]
        return []

    async def _our_key(self, claim: Known) -> Publish:
        selector = claim.selectors[0]
        name = f"{selector}._domainkey.{claim.domain}"
        try:
            key = read_key(claim)
        except ConfigError as error:
            return Publish("dkim", name, "TXT", "", "unknown", f"{claim.key_file}: {error}")
        value = dkim.record(key.public_key())
        try:
            there = await dkim.fetch(self.dns, selector, claim.domain)
        except Unavailable as outage:
            return Publish("dkim", name, "TXT", value, "unknown", outage.why)
        except dkim.Invalid as problem:
            why = str(problem)
            return Publish("dkim", name, "TXT", value, "missing" if why == "no key is published" else "wrong", why)
        if dkim.record(there.key) != value:
            return Publish("dkim", name, "TXT", value, "wrong", "another key is published")
        return Publish("dkim", name, "TXT", value, "ok", value)

    async def _their_key(self, claim: Known, selector: str) -> Publish:
        name = f"{selector}._domainkey.{claim.domain}"
        try:
            there = await dkim.fetch(self.dns, selector, claim.domain)
        except Unavailable as outage:
            return Publish("dkim", name, "TXT", "", "unknown", outage.why)
        except dkim.Invalid as problem:
            return Publish("dkim", name, "TXT", "", "missing", f"{problem}; the next hop's operator knows the key")
        return Publish("dkim", name, "TXT", "", "ok", dkim.record(there.key))

    async def _dmarc(self, claim: Known) -> Publish:
        name, value = f"_dmarc.{claim.domain}", "v=DMARC1; p=none"
        try:
            found = await dmarc.discover(self.dns, claim.domain)
        except Unavailable as outage:
            return Publish("dmarc", name, "TXT", value, "unknown", outage.why)
        if not found.record:
            what = "the record's p= is not valid" if found.at else ""
            return Publish("dmarc", name, "TXT", value, "wrong" if found.at else "missing", what)
        return Publish("dmarc", f"_dmarc.{found.at}", "TXT", found.record, "ok", found.record)


def _missing(records: Sequence[str]) -> str:
    return "wrong" if records else "missing"


def _network(text: str) -> str:
    """`192.0.2.10/32` as SPF writes it: 192.0.2.10."""
    return text.removesuffix("/128" if ":" in text else "/32")


def _domain(text: str) -> str:
    try:
        return domain_name(text)
    except BadAddress as error:
        fail(f"{text!r}: {error}")


def read_key(claim: Known) -> Any:
    """Raises ConfigError."""
    return read_pem(Path(claim.key_file))


@contextlib.asynccontextmanager
async def desk(config: Any) -> AsyncIterator[Desk]:
    async with open_store(config) as database:
        opened = None
        try:
            opened = Desk(config, Tenants(database), await open_keys(database, config.keys))
            yield opened
        except (KeysError, Conflict) as error:
            fail(str(error))
        finally:
            if opened is not None:
                await opened.dns.close()


@click.group()
def command() -> None:
    """Domains that tenants send from: add, list, verify, show, and their DKIM keys.

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
            row = await at.tenants.claim(tenant, name, value, time.time())
            if by:
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
    """List the domains of the configuration and of the store."""
    config = shell.config()

    async def main() -> None:
        async with open_store(config) as database:
            known = await known_domains(config, Tenants(database))
            rows = [asdict(claim) for claim in known if tenant in (None, claim.tenant)]
            columns = ("domain", "tenant", "verified", "dkim", "selectors", "checked", "source")
            show(rows, as_json, columns, empty="no domains; add one with: domain add DOMAIN --tenant ID")

    shell.run(main)


@command.command()
@click.argument("domain")
@tenant_option
@json_option
@click.pass_obj
def verify(shell: Shell, domain: str, tenant: str | None, as_json: bool) -> None:
    """Look for the record that proves ownership of DOMAIN.  Exit 1 if it is not there."""
    config = shell.config()

    async def main() -> bool:
        async with desk(config) as at:
            claim = await at.find(domain, tenant)
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
                await at.tenants.set_domain(claim.domain, claim.tenant, verified=True, checked=now)
            verified = good or claim.verified
            if as_json:
                result = {"domain": claim.domain, "tenant": claim.tenant, "verified": verified, "found": good}
                record = {"name": ownership.name(claim.domain), "type": "TXT", "value": value}
                click.echo(json.dumps({**result, "why": why, "publish": record}))
            elif good:
                click.echo(f"{claim.domain} is verified for {claim.tenant}")
            else:
                line = _zone_line(ownership.name(claim.domain), value)
                click.echo(why or f"the record was not found; publish:\n\n{line}")
                if claim.verified:
                    click.echo(f"\n{claim.domain} stays verified for {claim.tenant}")
            return good

    if not shell.run(main):
        sys.exit(1)


@command.command("show")
@click.argument("domain")
@tenant_option
@json_option
@click.pass_obj
def show_(shell: Shell, domain: str, tenant: str | None, as_json: bool) -> None:
    """Say what DOMAIN must publish (ownership, SPF, DKIM, DMARC), and what is there now."""
    config = shell.config()

    async def main() -> None:
        async with desk(config) as at:
            claim = await at.find(domain, tenant)
            records = await at.publish(claim)
            if as_json:
                click.echo(json.dumps({**asdict(claim), "publish": [asdict(record) for record in records]}, indent=2))
                return
            signer = {"relay": "the relay", "client": "the client", "next-hop": "the next hop"}.get(claim.dkim)
            click.echo(f"{claim.domain}, tenant {claim.tenant}: {'verified' if claim.verified else 'not verified'}")
            if signer:
                click.echo(f"signed by {signer}{' with ' + ', '.join(claim.selectors) if claim.selectors else ''}")
            else:
                click.echo("nobody is declared to sign; `domain key add` lets the relay do it")
            for record in records:
                click.echo(f"\n{record.what}: {record.state}")
                if record.state != "ok" and record.value:
                    click.echo(_zone_line(record.name, record.value))
                else:
                    click.echo(f"  {record.name}")
                if record.found and record.state != "ok":
                    click.echo(f"  now: {_safe(record.found)}")

    shell.run(main)


@command.group()
def key() -> None:
    """The key that the relay signs a domain's mail with."""


@key.command("add")
@click.argument("domain")
@click.option("--selector", metavar="S", help="The name under which it is published; made from the date if left out.")
@click.option("--type", "kind", type=click.Choice(["rsa", "ed25519"]), default="rsa", help="rsa: 2048 bits.")
@tenant_option
@json_option
@click.pass_obj
def key_add(shell: Shell, domain: str, selector: str | None, kind: str, tenant: str | None, as_json: bool) -> None:
    """Make a DKIM key for DOMAIN and say what to publish.

    Every receiver knows RSA; Ed25519 (RFC 8463) is smaller, and not verified by all of them.
    """
    config = shell.config()
    selector = _selector(selector or time.strftime("aup%Y%m", time.gmtime()))

    async def main() -> None:
        async with desk(config) as at:
            claim = await at.find(domain, tenant)
            if claim.source == "file":
                fail(f"{claim.domain} stands in {config.file}; name its selector and key_file there")
            if claim.dkim == "relay" and selector in claim.selectors:
                fail(f"{claim.domain} has a key for the selector {selector} already; name another with --selector")
            path = config.keys.absolute() / "dkim" / f"{claim.domain}.{selector}.pem"
            made = await asyncio.to_thread(_make, path, kind)
            await at.tenants.set_domain(
                claim.domain,
                claim.tenant,
                dkim_by="relay",
                selector=selector,
                selectors=(selector,),
                key_file=str(path),
            )
            if claim.verified:
                click.echo("mail of this domain is signed with the new key from now on: publish it at once", err=True)
            _print_key(claim.domain, selector, made, as_json)

    shell.run(main)


@key.command("show")
@click.argument("domain")
@tenant_option
@json_option
@click.pass_obj
def key_show(shell: Shell, domain: str, tenant: str | None, as_json: bool) -> None:
    """Print the TXT record of DOMAIN's key, to be copied into its zone."""
    config = shell.config()

    async def main() -> None:
        async with desk(config) as at:
            claim = await at.find(domain, tenant)
            if claim.dkim != "relay" or not claim.key_file:
                fail(f"the relay has no key for {claim.domain}; make one with: domain key add {claim.domain}")
            try:
                private = read_key(claim)
            except ConfigError as error:
                fail(f"{claim.key_file}: {error}")
            _print_key(claim.domain, claim.selectors[0], private, as_json)

    shell.run(main)


def _print_key(domain: str, selector: str, private: Any, as_json: bool) -> None:
    name, value = f"{selector}._domainkey.{domain}", dkim.record(private.public_key())
    if as_json:
        record = {"name": name, "type": "TXT", "value": value, "zone": _zone_line(name, value).strip()}
        click.echo(json.dumps({"domain": domain, "selector": selector, **record}))
        return
    click.echo(_zone_line(name, value))
    click.echo(f"\nor, where a form asks for it:\n\nname   {name}\ntype   TXT\nvalue  {value}")


def _selector(text: str) -> str:
    if not SELECTOR.match(text) or ".." in text:
        fail(f"{text!r} is not a selector: letters, digits, '_', '-' and '.', 63 at most")
    return text.lower()


def _make(path: Path, kind: str) -> Any:
    """A new private key, in a file of its own (0600) that was not there before."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = generate_private_key(65537, 2048) if kind == "rsa" else Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        fail(f"{path} is there already, from an earlier key; name another selector with --selector")
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    return private


def _zone_line(name: str, value: str) -> str:
    """A TXT record for a zone file; strings have at most 255 octets (RFC 1035 section 3.3.14)."""
    strings = " ".join(f'"{value[i : i + 250]}"' for i in range(0, len(value), 250))
    return f"  {name}. IN TXT ( {strings} )" if len(value) > 250 else f"  {name}. IN TXT {strings}"


def _safe(text: str) -> str:
    """What a DNS server said is shown without anything that moves a cursor."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:500]
