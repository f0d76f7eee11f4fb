"""`aup-relay check`: would this message go on?  The server's own code, nothing sent, nothing written."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from relay.cli.shell import Shell, fail, near, told

_FROM_LINE = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\r\n\r\n))From [^\n]*\n")


@click.command("check")
@click.argument("paths", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option("--config", "config_file", type=click.Path(dir_okay=False), help="The configuration file.")
@click.option("--policy", "policy_name", help="Judge by this policy (default: the tenant's, else baseline).")
@click.option("--tenant", "tenant_id", help="Judge as this tenant's mail.")
@click.option("--stream", type=click.Choice(["marketing", "transactional"]), default="marketing", show_default=True)
@click.option("--from", "sender", help="Envelope sender (default: Return-Path, Sender or From of the message).")
@click.option("--to", "to", multiple=True, help="Envelope recipient, once for each (default: To, Cc and Bcc).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each message.")
@click.option("--offline", is_flag=True, help="Skip what needs DNS, scanners or the store.")
@click.pass_obj
def command(
    shell: Shell,
    paths: tuple[str, ...],
    config_file: str | None,
    policy_name: str | None,
    tenant_id: str | None,
    stream: str,
    sender: str | None,
    to: tuple[str, ...],
    as_json: bool,
    offline: bool,
) -> None:
    """Judge messages exactly as the server would, without sending them.

    PATHS are .eml files, folders of them, mbox files, or - for standard input.

    \b
      aup-relay check --policy baseline --offline newsletter.eml
      aup-relay check --config relay.yaml --tenant acme campaign/*.eml
      aup-relay check --config relay.yaml --tenant acme --json - < message.eml

    Exit code: 0 everything would be forwarded, 1 something would not, 2 wrong use.
    """
    if config_file:
        shell = Shell(config_file)
    passed = asyncio.run(_check(shell, paths, policy_name, tenant_id, stream, sender, to, as_json, offline))
    sys.exit(0 if passed else 1)


async def _check(
    shell: Shell,
    paths: tuple[str, ...],
    policy_name: str | None,
    tenant_id: str | None,
    stream: str,
    sender: str | None,
    to: tuple[str, ...],
    as_json: bool,
    offline: bool,
) -> bool:
    from relay.examiner import examiner
    from relay.model import Tenant
    from relay.policy_file import PolicyError

    config = shell.config() if shell.path else None
    now = time.time()
    try:
        async with examiner(config, offline=offline, tenant=tenant_id is not None) as bench:
            if tenant_id is None:
                tenant = Tenant("", policy_name or "baseline")
            else:
                if config is None:
                    fail("--tenant needs a configuration: --config FILE")
                found = bench.directory.tenant(tenant_id)
                if found is None:
                    known = [t.id for t in bench.directory.tenants()]
                    fail(f"no such tenant: {tenant_id}{near(tenant_id, known)}")
                tenant = found
            name = policy_name or tenant.policy
            if name not in bench.policies.names():
                fail(f"no such policy: {name}{near(name, bench.policies.names())}")
            policy = bench.policies.get(name) if policy_name else bench.policies.of(tenant, now)
            passed = True
            for label, raw in _messages(paths):
                result = await bench.examine(raw, tenant, policy, stream, sender, to, now)
                passed = passed and result.passes
                if as_json:
                    click.echo(json.dumps(_as_json(label, result), ensure_ascii=False))
                else:
                    _tell(label, result, policy)
    except PolicyError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    return passed


def _messages(paths: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    for text in paths:
        if text == "-":
            yield from _split("-", sys.stdin.buffer.read())
            continue
        path = Path(text)
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in (".eml", ".mbox"))
            if not files:
                fail(f"{path}: no .eml or .mbox file in this folder")
        elif path.exists():
            files = [path]
        else:
            fail(f"{path}: no such file or folder")
        for file in files:
            try:
                data = file.read_bytes()
            except OSError as error:
                fail(f"{file}: cannot be read: {error.strerror}")
            yield from _split(str(file), data)


def _split(label: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """One message, or those of an mbox file (it begins with a "From " line)."""
    if not data.startswith(b"From "):
        yield label, data
        return
    starts = [(m.start(), m.end()) for m in _FROM_LINE.finditer(data)]
    for number, (_, begin) in enumerate(starts):
        end = starts[number + 1][0] if number + 1 < len(starts) else len(data)
        yield f"{label}#{number + 1}", re.sub(rb"(?m)^>(>*From )", rb"\1", data[begin:end])


def _as_json(label: str, result: Any) -> dict[str, Any]:
    findings = []
    for finding in result.findings:
        one: dict[str, Any] = {
            "check": finding.check,
            "clauses": list(finding.clauses),
            "then": str(finding.then),
            "evidence": dict(finding.evidence.seen),
            "remedy": finding.remedy,
        }
        if finding.shadow:
            one["shadow"] = True
        if finding.recipient:
            one["recipient"] = finding.recipient
        findings.append(one)
    row = {
        "file": label,
        "verdict": str(result.verdict),
        "reply": result.reply,
        "findings": findings,
        "repairs": list(result.repairs),
        "skipped": [{"check": s.check, "why": s.why} for s in result.skipped],
        "envelope": result.envelope,
    }
    if added := _added(result.mended):
        row["added"] = added
    return row


def _added(mended: Any) -> dict[str, Any]:
    """What repairs put into the message: header fields, each in one line, names of those that go, the footer."""
    added: dict[str, Any] = {}
    if mended.fields:
        added["fields"] = mended.fields.decode("utf-8", "replace").replace("\r\n ", " ").splitlines()
    if mended.drop:
        added["instead_of"] = list(mended.drop)
    if mended.footer is not None:
        added["footer"] = {"text": mended.footer.text, "html": mended.footer.html}
    return added


_WORDS = {
    "forward": ("would be forwarded", "green"),
    "refuse": ("would be refused", "red"),
    "hold": ("would be held for review", "yellow"),
    "defer": ("would be put off (the tool should try again)", "yellow"),
}


def _tell(label: str, result: Any, policy: Any) -> None:
    """For the author of a campaign: what is wrong, which sentence of the policy, how to mend it."""
    words, colour = _WORDS[str(result.verdict)]
    if result.verdict == "forward" and not result.passes:
        words, colour = "would be forwarded, but not to every recipient", "yellow"
    click.echo(f"{_safe(label)}: " + click.style(words, fg=colour, bold=True))
    if result.reply:
        click.echo(f"  the tool would see: {result.reply}")
    clauses = {clause.id: clause for clause in policy.clauses}
    for finding in result.findings:
        mark = {"refuse": "x", "hold": "x", "defer": "~", "repair": "+", "record": "-"}[str(finding.then)]
        what = {"repair": "will be mended here", "record": "noted only"}.get(str(finding.then), "")
        if finding.shadow:
            what = "in shadow: noted, not acted on"
        whom = f" {_safe(finding.recipient)}" if finding.recipient else ""
        note = f" ({what})" if what else ""
        click.echo(f"\n  {mark} " + click.style(finding.check, bold=True) + f"{whom}: {finding.reply.text}{note}")
        for id in finding.clauses:
            if id in clauses:
                click.echo(f"      policy {policy.name} {id}: {clauses[id].says}")
        seen = ", ".join(f"{key}: {_safe(str(told(value)))}" for key, value in finding.evidence.seen.items())
        if seen:
            click.echo(f"      seen: {seen}")
        if finding.remedy and str(finding.then) != "repair":
            click.echo(f"      to mend it: {finding.remedy}")
    added = _added(result.mended)
    if added:
        click.echo("\n  the relay would add:")
        for line in [*added.get("fields", ()), *added.get("footer", {"text": ""})["text"].splitlines()]:
            click.echo(f"    | {_safe(line)}")
    if result.envelope["source"] == "headers":
        to = ", ".join(result.envelope["to"]) or "nobody"
        click.echo(f"\n  envelope taken from the header: from <{_safe(result.envelope['from'])}> to {_safe(to)}")
    if result.skipped:
        by: dict[str, list[str]] = {}
        for one in result.skipped:
            by.setdefault(one.why, []).append(one.check)
        for why, names in by.items():
            click.echo(f"  not looked at ({why}): {', '.join(names)}")
    click.echo("")


def _safe(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:500]
