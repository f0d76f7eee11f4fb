"""The command line: one file per noun, loaded when it is asked for (start-up stays quick)."""

from __future__ import annotations

import importlib

import click

from relay.cli.shell import Group, Shell

COMMANDS = {
    "serve": "Start the relay.",
    "demo": "Try the relay on this machine: a tenant, credentials, and a sink that keeps what arrives.",
    "check": "Judge messages as the server would, without sending them.",
    "doctor": "Look for what is wrong: configuration, DNS, next hop, certificates, permissions, clock.",
    "sink": "A next hop that keeps every message in a folder and delivers nothing.",
    "policy": "Show policies, what they cover, and whether a file is right.",
    "tenant": "Tenants: add, list, show, set, suspend, reinstate, terminate.",
    "credential": "What tenants log in with: add, list, revoke.",
    "footer": "Footers that repairs put under messages: list, show, set, remove, preview.",
    "domain": "Sending domains: add, list, verify, show, watch, and their DKIM keys.",
    "quota": "Quotas: show what is used, set limits.",
    "suppression": "Who must not be mailed: add, remove, show, import, export, report.",
    "unsubscribe": "Unsubscribe links: make one, read one, change their key.",
    "consent": "Who agreed to be mailed: add, show, withdraw, import, export.",
    "decision": "The ledger of decisions: list, show, mark, export, verify.",
    "standing": "The ladder: where a tenant stands and why; what a ladder would have done.",
    "evidence": "Evidence of decisions for authorities and courts: export.",
    "hold": "Held messages: list, show, release, refuse.",
    "case": "What reviewers decide at once: list, show, close.",
    "exception": "Checks that do not bind a tenant for a time: add, list, remove.",
    "erase": "Forget a person everywhere, and keep them opted out.",
    "maintenance": "Answer every client 421 for a while: on, off.",
    "store": "The store: migrate, backup, check.",
    "feedback": "Bounces, complaints, replies, abuse reports: import, list, show, decide, stats.",
    "webhook": "Tell programs what happens: add, list, show, test, rotate, retry, remove.",
}


class _Commands(Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"relay.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # The table above, so that --help imports nothing.
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--config",
    "config",
    envvar="AUP_RELAY_CONFIG",
    type=click.Path(dir_okay=False),
    help="The configuration file (or AUP_RELAY_CONFIG).",
)
@click.version_option(package_name="aup-relay", prog_name="aup-relay")
@click.pass_context
def cli(ctx: click.Context, config: str | None) -> None:
    """An outbound SMTP relay that enforces an Acceptable Use Policy.

    Campaign tools use it as their SMTP host.  It reads every message against the policy of its
    tenant and forwards it to the real mail server, or refuses it with a reason and a reference.

    \b
    First steps:
      aup-relay demo                       try it, on this machine alone
      aup-relay check --policy baseline message.eml
      aup-relay --config relay.yaml doctor
      aup-relay --config relay.yaml serve
    """
    ctx.obj = Shell(config)


def main() -> None:
    cli()
