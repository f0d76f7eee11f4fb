"""`aup-relay doctor`: what is wrong, what soon will be, and how to mend it.

It changes nothing and asks only what the configuration names: the resolver, the next hops, its own files.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import shutil
import stat
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from relay.cli.shell import Shell, fail
from relay.domain_state import KINDS

if TYPE_CHECKING:
    from relay.config import Config
    from relay.model import Domain, Tenant
    from relay.ports import Authentication, Dns

PATIENCE = 15.0
"""Seconds for one question to the world."""
SOON = 21 * 86400.0
"""A certificate that ends within this wants renewal; most tools renew 30 days before."""

_MARK = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("fail", "red")}


@dataclass(frozen=True, slots=True)
class Line:
    """level  ok; warn: works, and something is missing or will break; fail: does not work
    what   the part it is about
    mend   what to do, "" where nothing is to be done
    """

    level: Literal["ok", "warn", "fail"]
    what: str
    says: str
    mend: str = ""


@click.command("doctor")
@click.option("--config", "config_file", type=click.Path(dir_okay=False), help="The configuration file.")
@click.option("--offline", is_flag=True, help="Ask neither the DNS nor the next hop.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array of the lines.")
@click.pass_obj
def command(shell: Shell, config_file: str | None, offline: bool, as_json: bool) -> None:
    """Look for what is wrong: configuration, keys, clock, certificates, DNS, next hop, and what is not enforced.

    Exit code: 0 nothing fails (warnings or not), 1 something does, 2 no configuration named.
    """
    if config_file:
        shell = Shell(config_file)
    if shell.path is None:
        fail("no configuration: name it with --config FILE or AUP_RELAY_CONFIG")
    lines = asyncio.run(_examine(shell.path, offline, lambda line: None if as_json else _tell(line)))
    if as_json:
        click.echo(json.dumps([asdict(line) for line in lines], indent=2, ensure_ascii=False))
    else:
        counts = {level: sum(line.level == level for line in lines) for level in _MARK}
        click.echo("\n" + ", ".join(f"{count} {level}" for level, count in counts.items() if count))
    sys.exit(any(line.level == "fail" for line in lines))


def _tell(line: Line) -> None:
    mark, colour = _MARK[line.level]
    says = "".join(c if c.isprintable() else "?" for c in line.says)
    click.echo(f"{click.style(mark, fg=colour)}  {line.what}: {says}")
    if line.mend:
        click.echo(f"      -> {line.mend}")


async def _examine(path: Path, offline: bool, tell: Any) -> list[Line]:
    lines: list[Line] = []
    async for line in examine(path, time.time(), offline=offline):
        lines.append(line)
        tell(line)
    return lines


async def examine(path: Path, now: float, *, offline: bool = False) -> AsyncIterator[Line]:
    """Every line of the report."""
    config, lines = _configuration(path)
    for line in lines:
        yield line
    if config is None:
        return
    for line in [*_files(config), *_listeners(config), *_certificate(config, now), *_overrides(config, now)]:
        yield line
    tenants: list[Tenant] = config.file_tenants(keys=False)
    async for stored in _store(config, now):
        if isinstance(stored, Line):
            yield stored
        else:
            tenants = stored
    for line in [*_operator(config, tenants), *_senders(tenants), *_footers(config, tenants), *_feedback(config)]:
        yield line
    if not offline:
        for name, hop in config.hops().items():
            yield await _next_hop(config, name, hop)
        async for line in _scanners(config):
            yield line
        async for line in _dns(config, tenants):
            yield line
        async for line in _way_back(config):
            yield line
    for line in _coverage(config, tenants):
        yield line


# -- what lies on this machine -----------------------------------------------------------------
def _configuration(path: Path) -> tuple[Config | None, list[Line]]:
    from relay.config import ConfigError, load

    try:
        return load(path, secrets=True), [Line("ok", "configuration", str(path))]
    except ConfigError as error:
        lines = [Line("fail", "configuration", problem, "mend that line") for problem in error.problems]
    try:
        return load(path), lines  # only secrets are wrong: the rest can be looked at
    except ConfigError:
        return None, lines


def _files(config: Config) -> Iterator[Line]:
    secrets: list[tuple[str, Path | None]] = [("tls.key", config.tls.key if config.tls else None)]
    secrets += [(f"next hop {name or 'next_hop'}", hop.password_file) for name, hop in config.hops().items()]
    for tenant in config.tenants.values():
        secrets += [(f"credential {name}", c.password_file) for name, c in tenant.credentials.items()]
        for name, domain in tenant.domains.items():
            secrets += [(f"DKIM key of {name}", file) for _, file in (domain.dkim.ours() if domain.dkim else ())]
    wrong = False
    for what, file in [*secrets, ("store", config.store)]:
        if file is None or not file.exists():
            continue
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o007:
            wrong = True
            yield Line("warn", "permissions", f"{what}: {file} is open to everybody ({mode:04o})", f"chmod 600 {file}")
    if not wrong:
        yield Line("ok", "permissions", "no secret is open to everybody")
    folder = config.store.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        yield Line("fail", "store", f"{folder} is not a folder that {_user()} can write", "make it, or change store")
        return
    space = shutil.disk_usage(folder)
    if space.free < 1 << 30 or space.free < space.total // 50:
        left = f"{space.free >> 20} MiB are left on the disk of {folder}"
        yield Line("warn", "store", left, "make room: with a full disk every message is answered 451")


def _user() -> str:
    return f"user {os.getuid()}"


def _listeners(config: Config) -> Iterator[Line]:
    from relay.config import is_loopback

    if config.http.admin and not is_loopback(config.http.admin.host):
        says = f"the admin pages are open on {config.http.admin.host}:{config.http.admin.port}, with no login"
        yield Line("warn", "http", says, "put http.admin on loopback or behind a firewall")
    if not config.http.public:
        yield Line("warn", "http", "http.public is not set: references in refusals open nothing", "set http.public")
    elif not config.http.base_url:
        yield Line("warn", "http", "http.base_url is not set: refusals have a reference and no address", "set it")
    for name, hop in config.hops().items():
        label = name or "next_hop"
        if hop.tls == "none" and not is_loopback(hop.host):
            yield Line("warn", f"next hop {label}", "mail goes over the network in the clear", "set tls: starttls")
        elif hop.tls != "none" and not hop.verify:
            yield Line("warn", f"next hop {label}", "any certificate is taken", "set verify: true, and ca_file")
    if not config.egress:
        yield Line("warn", "egress", "no addresses: SPF is not judged", "set egress to what the next hop sends from")


def _certificate(config: Config, now: float) -> Iterator[Line]:
    if config.tls is None:
        return
    from cryptography import x509

    try:
        chain = x509.load_pem_x509_certificates(config.tls.cert.read_bytes())
    except (OSError, ValueError):
        return  # reported with the configuration
    first = chain[0]
    begins, ends = first.not_valid_before_utc.timestamp(), first.not_valid_after_utc.timestamp()
    day = datetime.fromtimestamp(ends, UTC).date()
    renew = f"renew {config.tls.cert} and send SIGHUP"
    if now < begins:
        yield Line("fail", "certificate", f"is not valid before {_time(begins)}", "mend the clock")
    elif now >= ends:
        yield Line("fail", "certificate", f"ended on {day}", renew)
    elif ends - now < SOON:
        yield Line("warn", "certificate", f"ends on {day}, in {int((ends - now) // 86400)} days", renew)
    else:
        yield Line("ok", "certificate", f"valid until {day}")
    try:
        names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = [n.lower() for n in names.get_values_for_type(x509.DNSName)]
    except x509.ExtensionNotFound:
        known = []
    host = config.hostname.lower()
    if host not in known and f"*.{host.partition('.')[2]}" not in known:
        says = f"does not name {config.hostname} (it names {', '.join(known) or 'nothing'})"
        yield Line("warn", "certificate", says, "set hostname, or have clients connect to a name in it")


def _overrides(config: Config, now: float) -> Iterator[Line]:
    for id, tenant in config.tenants.items():
        for check, override in tenant.overrides.items():
            if override.until is not None and override.until <= now:
                day = datetime.fromtimestamp(override.until, UTC).date()
                says = f"the override of {check} ended on {day}; the policy holds as written"
                yield Line("warn", f"tenant {id}", says, "take it out of the file")


async def _store(config: Config, now: float) -> AsyncIterator[Line | list[Tenant]]:
    from relay.keys import Keys, KeysError
    from relay.ports import Unavailable
    from relay.stores.canary import open_keys
    from relay.stores.database import Database
    from relay.stores.directory import merge
    from relay.stores.migrate import migrations
    from relay.stores.tenants import read_rows

    if not config.store.exists():
        yield Line("ok", "store", f"{config.store} is made at the first start")
        if config.keys.exists():
            try:
                await asyncio.to_thread(Keys.open, config.keys, False)
            except KeysError as error:
                yield Line("fail", "keys", str(error))
        return
    try:
        database = await Database.open(config.store, warm=False)
    except Unavailable as error:
        yield Line("fail", "store", f"{config.store} cannot be used: {error.why}", "look at its permissions and disk")
        return
    try:
        applied = {row[0] for row in await database.read("SELECT number FROM migration")}
        waiting = [step.name for step in migrations() if step.number not in applied]
        if waiting:
            says = f"{len(waiting)} migrations are waiting: {', '.join(waiting)}"
            yield Line("warn", "store", says, "they run at the next start, or: aup-relay store migrate")
        else:
            yield Line("ok", "store", f"{config.store}, of this version")
        try:
            if await database.read("SELECT 1 FROM canary LIMIT 1"):
                await open_keys(database, config.keys)
                yield Line("ok", "keys", f"{config.keys} fits the store")
            else:
                yield Line("ok", "keys", f"{config.keys} is made at the first start")
        except KeysError as error:
            yield Line("fail", "keys", str(error), "put the right folder back; without it nothing starts")
        last = await _last_row(database)
        if last > now + 60:
            says = f"{_time(now)} is before the last decision, {_time(last)}"
            yield Line("fail", "clock", says, "set the clock; nothing starts until it is right")
        else:
            yield Line("ok", "clock", "not before the last decision")
        yield merge(await database.run(read_rows), config.file_tenants(keys=False), {})
    except Unavailable as error:
        yield Line("fail", "store", f"{config.store} cannot be read: {error.why}", "aup-relay store check")
    finally:
        await database.close()


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


async def _last_row(database: Any) -> float:
    """When the newest decision was made; a decision's id is its time in microseconds, shifted by 10 bits."""
    [(newest,)] = await database.read("SELECT max(id) FROM decision")
    return float((newest or 0) >> 10) / 1e6


def _operator(config: Config, tenants: list[Tenant]) -> Iterator[Line]:
    """Whether the operator's own mail, notices and reports, is signed by us."""
    own, address = config.operator.dkim, config.operator.from_address
    name = address.rpartition("@")[2]
    covering = [domain for tenant in tenants if (domain := tenant.domain_for(name)) is not None]
    if own is None and not any(domain.dkim_by == "relay" for domain in covering):
        says = f"nothing here signs notices from {address} with DKIM; that is right only where the next hop does"
        yield Line("warn", "operator", says, "operator: {dkim: {by: relay, selector: ..., key_file: ...}}")


def _senders(tenants: list[Tenant]) -> Iterator[Line]:
    if not tenants:
        yield Line("warn", "tenants", "there are none: nobody can send", "aup-relay tenant add, or declare one")
    for tenant in tenants:
        what = f"tenant {tenant.id}"
        for domain in tenant.domains:
            yield from _watched(tenant, domain)
        if tenant.standing.rung not in ("good", "notice"):
            yield Line("warn", what, f"is {tenant.standing.rung}: {tenant.standing.reason or 'no reason given'}")
        for domain in tenant.domains:
            if not domain.verified:
                says = f"{domain.name} is not verified: mail from it is refused"
                yield Line("warn", what, says, f"aup-relay domain verify {domain.name}")
            elif domain.dkim_by is None:
                yield Line("warn", what, f"{domain.name}: nothing says who signs with DKIM", "set dkim: {by: ...}")
        if not tenant.domains:
            yield Line("warn", what, "has no domain to send from", f"aup-relay domain add DOMAIN --tenant {tenant.id}")
        if tenant.shadow:
            yield Line("warn", what, "is in shadow: judged and recorded, little is refused", "set shadow: false")


def _footers(config: Config, tenants: list[Tenant]) -> Iterator[Line]:
    footers = config.load_footers()
    for tenant in tenants:
        for says in footers.lacks(tenant):
            yield Line("warn", f"tenant {tenant.id}", says)


def _watched(tenant: Tenant, domain: Domain) -> Iterator[Line]:
    """What the running relay saw of a domain at its last look, where something is gone."""
    says = {
        "warn": "is gone; mail goes out, and is put off soon",
        "defer": "is gone; mail is put off (451), and refused soon",
        "refuse": "is gone for so long that mail is refused",
    }
    for kind in KINDS:
        if stage := domain.broken(kind):
            level: Literal["warn", "fail"] = "warn" if stage == "warn" else "fail"
            mend = f"aup-relay domain show {domain.name} --tenant {tenant.id}"
            yield Line(level, f"domain {domain.name} ({tenant.id})", f"{kind}: what was there {says[stage]}", mend)


def _feedback(config: Config) -> Iterator[Line]:
    """How what comes back for mail is heard, and where nothing is."""
    feedback = config.feedback
    doors = [str(door.socket) if door.socket else f"{door.host}:{door.port}" for door in feedback.listen]
    url = config.http.base_url
    for name in ("ses", "sendgrid", "mailgun", "postmark"):
        if getattr(feedback, name) is None:
            continue
        doors.append(f"{url}/feedback/{name}")
        if config.http.public is None or not url.startswith("https://"):
            mend = "set http.public, and http.base_url to the https address that it is seen at"
            yield Line("fail", f"feedback by {name}", "its page cannot be reached from outside", mend)
    for name, hop in config.hops().items():
        what = f"feedback of {name or 'next_hop'}"
        if hop.feedback == "none":
            says = "nobody hears of bounces and complaints: dead addresses are mailed again, and rates are not known"
            yield Line("warn", what, says, "set `feedback` of the next hop (docs/feedback.md)")
        else:
            yield Line("ok", what, f"{hop.feedback}, at {', '.join(doors)}")


# -- what is asked of others --------------------------------------------------------------------
async def _next_hop(config: Config, name: str, hop: Any) -> Line:
    from relay.config import ConfigError
    from relay.smtp.nexthop_link import HopSettings, Link, Refused, tls_context

    what = f"next hop {name or 'next_hop'}"
    place = f"{hop.host}:{hop.port}"
    link = None
    try:
        settings = HopSettings(
            name=name or "next_hop",
            host=hop.host,
            port=hop.port,
            tls=hop.tls,
            verify=hop.verify,
            ca_file=str(hop.ca_file or ""),
            server_name=hop.server_name or "",
            user=hop.user,
            password=hop.password(),
            profile=hop.profile,
        )
        context = await asyncio.to_thread(tls_context, settings)
        link = Link(asyncio.get_running_loop(), lambda link: None, PATIENCE)
        async with asyncio.timeout(PATIENCE):
            await link.open(settings, config.hostname, context)
        link.write(b"QUIT\r\n")
        return Line("ok", what, f"{place} answers{', over TLS' if hop.tls != 'none' else ''}")
    except Refused as refused:
        code = f" {refused.code}" if refused.code else ""
        return Line("fail", what, f"{place}, {refused.step}:{code} {refused.why}", "every message is answered 451")
    except TimeoutError:
        return Line("fail", what, f"{place} did not answer within {PATIENCE:g} s", "every message is answered 451")
    except ConfigError as error:
        return Line("fail", what, f"its password file {error}", "mend password_file")
    except OSError as error:
        return Line("fail", what, f"its ca_file: {error.strerror or error}", "mend ca_file")
    finally:
        if link is not None and link.transport is not None:
            link.transport.close()


async def _scanners(config: Config) -> AsyncIterator[Line]:
    """Whether each that is configured answers, and its version."""
    from relay.config import ConfigError
    from relay.ports import Unavailable
    from relay.wiring import scanners

    try:
        found = scanners(config)
    except ConfigError:
        return  # reported with the configuration
    for name, scanner in zip(("clamd", "rspamd"), found, strict=True):
        if scanner is None:
            continue
        try:
            yield Line("ok", f"scanner {name}", await scanner.version())
        except Unavailable as error:
            mend = f"start it, or mend scanners.{name}; until then its check does as the policy says of an outage"
            yield Line("fail", f"scanner {name}", error.why, mend)


async def _dns(config: Config, tenants: list[Tenant]) -> AsyncIterator[Line]:
    from relay.dns.authentication import DomainAuthentication
    from relay.dns.resolver import Resolver
    from relay.ports import Unavailable

    dns = Resolver(list(config.dns.nameservers) or None, config.dns.timeout, grace=0.0)
    servers = ", ".join(config.dns.nameservers) or "/etc/resolv.conf"
    try:
        own = config.operator.from_address.rpartition("@")[2]
        try:
            async with asyncio.timeout(PATIENCE):
                await dns.resolve(own, "MX")
        except (Unavailable, TimeoutError) as error:
            says = f"{servers} does not answer ({getattr(error, 'why', 'no answer in time')})"
            yield Line("fail", "DNS", says, "mend dns.nameservers; until then mail is answered 451")
            return
        yield Line("ok", "DNS", f"{servers} answers")
        for tenant in tenants:
            envelope = config.envelope_domain(tenant)
            authentication = DomainAuthentication(
                dns, config.egress, envelope_domain=envelope, hostname=config.hostname, clock=time.time
            )
            for domain in tenant.domains:
                if not domain.verified:
                    continue
                try:
                    async with asyncio.timeout(PATIENCE):
                        found = [line async for line in _domain(config, dns, authentication, tenant, domain)]
                except (Unavailable, TimeoutError) as error:
                    why = getattr(error, "why", "no answer in time")
                    found = [Line("warn", f"domain {domain.name}", f"cannot be looked up now ({why})")]
                for line in found:
                    yield line
    finally:
        await dns.close()


async def _way_back(config: Config) -> AsyncIterator[Line]:
    """Whether bounces find the feedback domain, and whether it may stand in the envelope."""
    from relay.dns.authentication import DomainAuthentication
    from relay.dns.resolver import Resolver
    from relay.ports import Unavailable

    domain = config.feedback.domain
    if domain is None:
        return
    dns = Resolver(list(config.dns.nameservers) or None, config.dns.timeout, grace=0.0)
    what = f"feedback domain {domain}"
    try:
        async with asyncio.timeout(PATIENCE):
            mx = (await dns.resolve(domain, "MX")).records or (await dns.resolve(domain, "A")).records
            if not mx:
                yield Line("fail", what, "has no MX record", "publish one that leads to feedback.listen")
            verp = any(hop.feedback == "verp" for hop in config.hops().values())
            if verp and config.egress:
                authentication = DomainAuthentication(dns, config.egress, hostname=config.hostname, clock=time.time)
                spf = await authentication.spf(domain)
                if spf.result != "pass":
                    says = f"SPF is {spf.result} for {spf.egress or 'our addresses'}, and it stands in every envelope"
                    yield Line("fail", what, says, f"its SPF record must allow {_allow(config.egress)}")
                elif mx:
                    yield Line("ok", what, "MX and SPF are published")
            elif mx:
                yield Line("ok", what, "MX is published")
    except (Unavailable, TimeoutError) as error:
        yield Line("warn", what, f"cannot be looked up now ({getattr(error, 'why', 'no answer in time')})")
    finally:
        await dns.close()


async def _domain(
    config: Config, dns: Dns, authentication: Authentication, tenant: Tenant, domain: Any
) -> AsyncIterator[Line]:
    """MX, SPF for our addresses, DMARC, and the published DKIM keys of one domain; and what large receivers want."""
    from relay.checks.sender_domain_resolves import NO_SUCH_DOMAIN, NULL_MX, trouble
    from relay.dns.published import key_hints, spf_hints, spf_records

    what = f"domain {domain.name} ({tenant.id})"
    good = True
    nowhere = await trouble(dns, domain.name)
    if nowhere == NO_SUCH_DOMAIN:
        yield Line("fail", what, "does not exist in the DNS", "register it, or take it out")
        return
    if nowhere:
        good = False
        says = "takes no mail (null MX)" if nowhere == NULL_MX else "takes no mail: no MX record and no address"
        yield Line("fail", what, says, "publish an MX record, so that bounces reach the tenant")
    if config.egress:
        spf = await authentication.spf(domain.name)
        if spf.result != "pass":
            good = False
            which = f" for {spf.egress}" if spf.egress else ""
            says = f"SPF is {spf.result}{which}{': ' + spf.why if spf.why else ''}"
            yield Line("fail", what, says, f"its SPF record must allow {_allow(config.egress)}")
    for hint in spf_hints(spf_records((await dns.resolve(domain.name, "TXT")).records)):
        yield Line("warn", what, f"SPF: {hint}", "change its SPF record")
    if not (await authentication.dmarc(domain.name)).record:
        good = False
        yield Line("fail", what, "has no DMARC record", f'publish _dmarc.{domain.name} TXT "v=DMARC1; p=none"')
    selectors = domain.selectors if domain.dkim_by in ("relay", "next-hop") else ()
    for selector in selectors:
        if not await authentication.published(selector, domain.name):
            good = False
            says = f"no DKIM key is published at {selector}._domainkey.{domain.name}"
            yield Line("fail", what, says, "publish it, or change the selector")
            continue
        for hint in await key_hints(dns, selector, domain.name):
            yield Line("warn", what, f"DKIM, {selector}: {hint}", "make a new key")
    if good:
        yield Line("ok", what, "SPF, DKIM and DMARC are published" if selectors else "SPF and DMARC are published")


def _allow(egress: tuple[str, ...]) -> str:
    words = []
    for text in egress:
        net = ipaddress.ip_network(text)
        shown = str(net.network_address) if net.num_addresses == 1 else text
        words.append(f"ip{net.version}:{shown}")
    return " ".join(words)


# -- what is not enforced -------------------------------------------------------------------------
def _coverage(config: Config, tenants: list[Tenant]) -> Iterator[Line]:
    """Tenants with the same gaps share a line."""
    from relay.policy_file import coverage

    policies = config.load_policies()
    gaps: dict[tuple[str, str], list[str]] = {}
    anywhere: dict[str, tuple[list[str], list[str]]] = {}  # by policy: clauses with gaps everywhere, tenants
    for tenant in tenants:
        if tenant.policy not in policies.names():
            says = f"policy {tenant.policy!r} is not there: all its mail is answered 451"
            yield Line(
                "fail",
                f"tenant {tenant.id}",
                says,
                f"put the file back, or: aup-relay tenant set {tenant.id} --policy NAME",
            )
            continue
        policy = policies.of(tenant, time.time())
        # What no configuration could mend is said once, so that what this one lacks is not lost among it.
        known = {row["id"]: row["why"].split("; ") for row in coverage(policy, inherited=True)}
        open_ids: list[str] = []
        for row in coverage(policy, config, tenant, inherited=True):
            if row["enforced"] not in ("partly", "not-configured"):
                continue
            if here := [why for why in row["why"].split("; ") if why not in known[row["id"]]]:
                gap = f"{row['id']} ({row['says']}) is {row['enforced']}: {'; '.join(here)}"
                gaps.setdefault((tenant.policy, gap), []).append(tenant.id)
            else:
                open_ids.append(row["id"])
        if open_ids:
            clauses, ids = anywhere.setdefault(tenant.policy, (open_ids, []))
            clauses += [each for each in open_ids if each not in clauses]
            ids.append(tenant.id)
    for (name, gap), ids in gaps.items():
        yield Line("warn", f"policy {name} for {_some(ids)}", gap)
    for name, (clauses, ids) in anywhere.items():
        says = f"{', '.join(clauses)} are not wholly enforced under any configuration: aup-relay policy coverage {name}"
        yield Line("ok", f"policy {name} for {_some(ids)}", says)


def _some(ids: list[str]) -> str:
    return ", ".join(ids) if len(ids) <= 3 else f"{', '.join(ids[:3])} and {len(ids) - 3} more"
