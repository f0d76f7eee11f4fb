"""Evidence for authorities, courts, and the tenant itself."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.cli.shell import Group, Moment, Shell, Until, fail, json_option, near, open_store, show
from relay.cli.tenant import every_tenant, known_tenant

if TYPE_CHECKING:
    from relay.stores.evidence import Exported


@click.group("evidence", cls=Group)
def command() -> None:
    """Evidence of what was decided, for whoever must check it without this software.

    \b
      aup-relay evidence export --tenant acme --since 2026-04-01 --until 2026-04-30 --out acme-april.zip
      aup-relay evidence export --case k3j5m2q7abcdefgh --out case.zip
    """


@command.command("export")
@click.option("--tenant", default="", help="Everything of this tenant.")
@click.option("--case", default="", help="What belongs to this case.")
@click.option("--since", type=Moment(), help="Not earlier than this (UTC).")
@click.option("--until", type=Until(), help="Not later than this (UTC); a day counts whole.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="A new .zip file.")
@json_option
@click.pass_obj
def export(
    shell: Shell, tenant: str, case: str, since: float | None, until: float | None, out: Path, as_json: bool
) -> None:
    """Write a signed archive: decisions with their proofs, policy, standing, notices, and how to check it.

    It holds addresses and subjects of the tenant's mail as far as they are still kept, so the file is
    readable by you alone (0600), and never written over another.  The receiver checks it with
    `python3 verify.py ARCHIVE`, which is inside, or by hand as README.txt says.
    """
    if bool(tenant) == bool(case):
        fail("name one of --tenant and --case")
    if since is not None and until is not None and until < since:
        fail("--until is before --since")
    config = shell.config()
    now = time.time()

    case = case.strip().lower()

    async def main(file: Any) -> tuple[str, Exported]:
        from relay.jobs.checkpoints import checkpoint
        from relay.stores import evidence
        from relay.stores.canary import open_keys
        from relay.stores.chain import Terms
        from relay.stores.decisions import fresh

        async with open_store(config) as database:
            whose = tenant
            if case:
                rows = await database.read("SELECT tenant FROM review_case WHERE id = ?", (case,))
                if not rows:
                    known = [row[0] for row in await database.read("SELECT id FROM review_case ORDER BY last DESC")]
                    fail(f"no case {case!r}{near(case, known[:10_000])}")
                whose = rows[0][0]
                tenants = {t.id: t for t in await every_tenant(config, database)}
                known_as = _about(tenants[whose]) if whose in tenants else {"id": whose}
            else:
                known_as = _about(await known_tenant(config, database, whose))
            keys = await open_keys(database, config.keys)
            policies = config.load_policies()
            terms = Terms(keys.ledger)
            await fresh(database, terms)
            # So that the newest decisions are under a signature too.
            await checkpoint(database, keys.signing, now)
            installation = (await database.read("SELECT value FROM meta WHERE name = 'installation'"))[0][0]
            told = _Progress()

            def source(name: str) -> Path | None:
                return Path(policies.get(name).source) if name in policies.names() else None

            done = await database.view(
                lambda db: evidence.export(
                    db,
                    file,
                    evidence.Wanted(whose, case, since, until),
                    terms=terms,
                    signing=keys.signing,
                    keys=database.data_keys,
                    tenant={**known_as, "policy_versions": _versions(policies)},
                    policies=lambda name: evidence.policy_files(source, name),
                    about={
                        "by": config.operator.name,
                        "contact": config.operator.abuse,
                        "installation": installation,
                    },
                    now=now,
                    progress=told.more,
                )
            )
            told.end()
            note = f"{done.decisions} decisions{f' of case {case}' if case else ''}"
            await shell.record(config, database, "evidence exported", tenant=whose, note=note)
            return keys.public.hex(), done

    try:
        # "x": what names people never lands in a file that others may have open.
        with out.open("xb") as file:
            out.chmod(0o600)
            try:
                key, done = shell.run(lambda: main(file))
            except BaseException:
                out.unlink()
                raise
    except OSError as error:
        fail(f"{out}: {error.strerror}")
    if as_json:
        show([{"file": str(out), "public_key": key, **asdict(done)}], True)
        return
    click.echo(f"{done.decisions} decisions, {done.checkpoints} checkpoints, {done.notices} notices in {out}")
    if done.unproven:
        click.echo(
            f"  {done.unproven} are older than proofs of single decisions: the archive's signature stands for them"
        )
    click.echo(f"  signed with key {key}")
    click.echo(f"  to check it: unzip {out.name} verify.py && python3 verify.py {out.name}")


def _about(tenant: Any) -> dict[str, Any]:
    profile = asdict(tenant.profile)
    domains = [{"name": d.name, "verified": d.verified, "dkim_by": d.dkim_by} for d in tenant.domains]
    return {"id": tenant.id, "policy": tenant.policy, **profile, "domains": domains, "created": tenant.created or None}


def _versions(policies: Any) -> dict[str, str]:
    return {name: policies.get(name).version for name in policies.names()}


class _Progress:
    """On a terminal, how many were written."""

    def __init__(self) -> None:
        self._count = 0
        self._shown = sys.stderr.isatty()

    def more(self, count: int) -> None:
        self._count += count
        if self._shown:
            sys.stderr.write(f"\rdecisions: {self._count:,}\x1b[K")
            sys.stderr.flush()

    def end(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
