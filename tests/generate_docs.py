"""Prints the pages of docs/ that the code itself knows best: events, replies, checks.

    make docs        writes them, and the golden table of replies

A test compares them, so that a changed reply or event is a visible line in review.
"""

# ruff: noqa: E501 - the prose here is printed as it stands
from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined
from relay.checks import CHECKS
from relay.checks.catalogue import NAMES, SESSION
from relay.checks.check import Check
from relay.events import Event, vocabulary
from relay.model import Stage
from relay.replies import say, table

ROOT = Path(__file__).resolve().parent.parent
NOTE = "<!-- Made by `make docs`; change the code instead. -->\n"


def pages() -> dict[str, str]:
    """Path from the repository -> its text."""
    return {
        "docs/events.md": events(),
        "docs/replies.md": replies(),
        "docs/checks.md": checks(),
        "tests/golden/replies.txt": golden(),
    }


# -- events -----------------------------------------------------------------------------------
EVENTS = """\
# Events

The log is one JSON object a line on stdout (`log.format: text`, or a terminal, gives lines for people). Every line has

| field | meaning |
|---|---|
| `at` | time in UTC, milliseconds |
| `level` | debug, info, warning, error; `log.level` says from which one on lines are written |
| `event` | one of the names below |
| `worker` | the process: `parent`, `office`, `smtp-0`, `smtp-1`, ... (in `worker.changed` the one that changed) |

and the fields of its kind. A mail is one `mail.decided` line, with all that is needed to answer "what happened to it": `ref`
leads to the decision (`aup-relay decision show REF`), which has the evidence. Errors have a `traceback` as well. No address, no
subject and no secret is ever a field; in free text (what a next hop said) addresses are blotted out unless `log.addresses` is on.

Each kind is also a counter on the admin listener's `/metrics`: `mail.decided` is `aup_relay_mail_decided_total`, with the labels
named here. The counter moves with the line, whatever `log.level` is. Other metrics: [operating.md](operating.md).
"""


def events() -> str:
    parts = [EVENTS, NOTE]
    for kind in vocabulary():
        about, fields = described(kind)
        labels = ", ".join(f"`{label}`" for label in kind.labels) or "none"
        parts.append(f"## {kind.name}\n\n{about}\n\nLevel: {kind.level}. Labels: {labels}.\n")
        parts.append("| field | meaning |\n|---|---|\n" + "".join(f"| `{n}` | {cell(m)} |\n" for n, m in fields))
    return "\n".join(parts)


def described(kind: type[Event]) -> tuple[str, list[tuple[str, str]]]:
    """The docstring of an event: its sentences, and its fields with what they mean."""
    about, _, rest = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")
    return " ".join(about.split()), re.findall(r"^(\w+) {2,}(\S.*)$", rest, re.M)


# -- replies ----------------------------------------------------------------------------------
REPLIES = """\
# Replies

Everything the relay ever says to an SMTP client. A policy reply has one form:

```
{example}
```

the check in brackets ([checks.md](checks.md)), one sentence, the seconds until time alone cures it (only on 4yz), the reference of
the decision, and, where `http.base_url` is set, an address that shows the rule. Replies about the SMTP conversation itself have
neither check nor reference. Lines are ASCII, at most 300 characters, and carry nothing of the message, no threshold, and nothing
of another tenant.

## Which code, and why

Sending tools act on codes, and some act badly. So:

* `550 5.7.1` **only** at RCPT, and only where the tool *should* stop mailing that address.
* What is wrong with the message, the tenant or the domain is `554`, and never x.7.1: the contact must not pay for it.
* What time alone cures is `451` with the seconds: quotas, holds, suspensions that end before a queue gives up (5 days).
* A DNS record of the tenant's that was right and is gone is `451` while half of its grace lasts, `554` then
  ([domains.md](domains.md)): most of them are mistakes, and no mail is to be lost by them.
* A fault of ours is always `451`, and shows nothing of our insides.
* Never 503 for a policy, and never 250 for what then goes nowhere.

| tool | 55x at RCPT | other 5yz | 4yz |
|---|---|---|---|
| MTAs as smart host (Postfix, Exim, OpenSMTPD) | bounce to the sender | bounce | queued, retried for days |
| Postal | hard fail; counted against the recipient, suppressed on repeat | 51x-55x likewise, 50x and 53x retried | retried; reads "N seconds" |
| mox | recipient suppressed at once for x.7.1 and for 550, 551, 553, 556 | 554: failed, suppressed after three in a row | retried |
| EmailEngine | failed | failed; 503 retried | retried |
| listmonk | counted; may pause the campaign | the same | the same: it has no queue |
| Mautic without a queue | may mark the contact | may send the batch again | often counted as failed |
| tools that suppress on any 5yz | suppressed | suppressed | retried |

`client:` on a tenant says which kind of tool it uses:

* `standard`: as the tables say.
* `postal`: what is wrong with the message, the tenant or its domain (`552`, `554`) is `451 4.7.0` for the first `limits.mend` (4 hours)
  of a message, known again by its fingerprint, and only then refused for good. What is wrong with the recipient is said at once.
* `no-queue`: the reply to RCPT waits longer for a quota (`limits.pace_no_queue`), and a message that is held for review is accepted
  (`250`) once an exact copy is durable; the relay sends it on, or reports to its sender ([review.md](review.md)).

**From the next hop** passes through what concerns the recipient or the message: its code, its text in one line. What concerns the
relay itself (its greeting, TLS, login, any 421, commands it does not know) is `451 4.4.1` here, an event, and red in `/readyz`.

## All of them

"""


def replies() -> str:
    example = say(table()["RATE"], check="rate", ref="4c7fj2qk6yxv3n5zt2wd7hbsea", base_url="https://mail.platform.example",
                  retry_in=37)  # fmt: skip
    rows = ["| name | reply |\n|---|---|\n"]
    rows += [f"| {name} | `{reply}` |\n" for name, reply in table().items()]
    return REPLIES.format(example=example) + NOTE + "\n" + "".join(rows)


def golden() -> str:
    return "".join(f"{name:24} {reply}\n" for name, reply in table().items())


# -- checks -------------------------------------------------------------------------------------
CHECKS_PAGE = """\
# Checks

A check looks for one thing and knows nothing of what follows from it: that is the policy's matter ([policies.md](policies.md)). Its
name is the code in a refusal, `[spf]` for instance, and never changes its meaning. Names in a policy file that are not listed here
are refused; what is listed but not built yet loads, does nothing, and `policy coverage` says so.

Under each check: what follows if the policy file does not say (`then`), and what follows while something it needs is away
(`on_outage`): `defer` answers 451, `skip` goes on and records it. A check marked "never in shadow" acts even where a rule, a tenant or a
policy is only being tried out.

"""
STAGES = {
    Stage.SENDER: ("At MAIL", "The sender, and the tenant behind it."),
    Stage.RECIPIENT: ("At RCPT", "Each recipient by itself: the end of data has one reply for all."),
    Stage.MESSAGE: (
        "At the end of data",
        "The message; all of these are made, so that a tenant sees everything at once.",
    ),
}
SESSION_WORDS = {
    "auth-required": "A listener with `auth: required` takes mail only after a login: `530 5.7.0`.",
    "tls-required": "A listener with TLS takes no login and no mail in the clear: `530 5.7.0`, `538 5.7.11`.",
    "login-throttle": "Failed logins are counted per client address and per user name, then `454 4.7.0` or `421 4.7.0`.",
    "credential-network": "A credential with `networks` works only from there: `535 5.7.8`.",
    "connection-limits": "Connections, commands, errors and octets in flight are bounded per client, tenant and in all: `421`, `452`.",
    "retry-storm": "The same refused message again and again waits longer each time: `451 4.7.1` with the seconds.",
}


def checks() -> str:
    parts = [CHECKS_PAGE + NOTE, "## In the session\n\nThese belong to the listener and hold under every policy.\n"]
    parts.append("".join(f"* **{name}**: {SESSION_WORDS[name]}\n" for name in SESSION))
    for stage, (title, about) in STAGES.items():
        parts.append(f"## {title}\n\n{about}\n")
        parts += [one_check(check) for check in CHECKS if check.stages[0] is stage]
    built = {check.name for check in CHECKS} | set(SESSION)
    later = [f"`{name}`" for name in NAMES if name not in built]
    if later:
        parts.append("## Not in this version\n")
        parts.append(textwrap.fill(", ".join(later) + ".", 120, break_on_hyphens=False) + "\n")
    return "\n".join(parts)


def one_check(check: Check) -> str:
    module = inspect.getmodule(check.run)
    text = inspect.cleandoc((module.__doc__ if module else "") or "")
    about, _, stated = text.partition("\nReply:")
    facts = [f"{name}: {' '.join(words.split())}" for name, words in facts_of("Reply:" + stated)] if stated else []
    facts.append(f"How to mend it: {check.remedy}")
    default = f"then: `{check.then.value}`; on_outage: `{check.outage}`"
    if check.repairs:
        default += "; it can mend what it finds (`then: repair`)"
    if not check.shadowed:
        default += "; never in shadow"
    if check.everywhere is not None:
        default += "; binds under every policy"
    facts.append(default)
    lines = [f"### {check.name}\n", about.strip() + "\n", "".join(f"* {fact}\n" for fact in facts)]
    if settings := list(settings_of(check)):
        lines.append("| setting | default |\n|---|---|\n" + "".join(f"| `{n}` | {d} |\n" for n, d in settings))
    return "\n".join(lines)


def facts_of(text: str) -> list[tuple[str, str]]:
    """`Reply:  ...` and `Evidence:  ...`, each until the next."""
    found = re.split(r"^(Reply|Evidence|Settings):", text, flags=re.M)
    return list(zip(found[1::2], found[2::2], strict=True))


def settings_of(check: Check) -> Iterator[tuple[str, str]]:
    for name, field in check.settings.model_fields.items():
        default: Any = field.get_default(call_default_factory=True) if not field.is_required() else PydanticUndefined
        yield name, "must be given" if default is PydanticUndefined else f"`{cell(plain(default))}`"


def plain(value: Any) -> str:
    """As it would stand in a policy file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple, set, frozenset)):
        return (
            "[" + ", ".join(sorted(map(str, value)) if isinstance(value, (set, frozenset)) else map(str, value)) + "]"
        )
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {plain(v)}" for k, v in value.items()) + "}"
    return "null" if value is None else str(value)


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    for name, text in pages().items():
        path = ROOT / name
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {name}")


if __name__ == "__main__":
    main()
