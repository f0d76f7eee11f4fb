"""Beside every policy: messages that it must refuse (the file's name begins with the check), and must let through."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from relay.dns.authentication import DomainAuthentication
from relay.dns.resolver import StaticResolver, everything
from relay.examine import Examined, examine
from relay.message.content import Content
from relay.model import Domain, Profile, Tenant
from relay.policy_file import Policies
from relay.ports import Tools
from relay.stores.memory import MemoryRecipients
from relay.stores.memory_quotas import MemoryQuotas

FOLDER = Path(__file__).parent / "policies"
FILES = {str(path.relative_to(FOLDER)): path for path in sorted(FOLDER.rglob("*.eml"))}
NOON = 1_795_262_400.0
ZONE = {
    "acme.example": {"MX": ["10 mx.acme.example"], "TXT": ["v=spf1 ip4:192.0.2.10 -all"]},
    "_dmarc.acme.example": {"TXT": ["v=DMARC1; p=none"]},
}


def tenant(policy: str) -> Tenant:
    profile = Profile(
        legal_name="Acme Outreach Ltd",
        postal_address="1 Main Street, Springfield, IL 62701, USA",
        contact="abuse@acme.example",
        privacy_policy="https://acme.example/privacy",
        verified=True,
    )
    domain = Domain("acme.example", "acme", verified=True, dkim_by="relay", selector="s1")
    return Tenant("acme", policy, profile, domains=(domain,))


async def judged(path: Path, policy: str, to: Sequence[str] = ()) -> Examined:
    dns = StaticResolver(ZONE, everything)
    acme = tenant(policy)
    return await examine(
        Content(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")),
        tenant=acme,
        policy=Policies().get(policy),
        stream="marketing",
        sender="news@acme.example",
        to=to or ["bob@customer.example"],
        tools=Tools(
            dns=dns,
            authentication=DomainAuthentication(dns, ["192.0.2.10"], clock=lambda: NOON),
            quotas=MemoryQuotas(),
            installation="0123456789abcdef",
            missing={"session": "no-session"},
        ),
        recipients=MemoryRecipients(),
        now=NOON,
    )


@pytest.mark.parametrize("name", FILES)
async def test_a_message_is_judged_as_its_folder_says(name: str) -> None:
    policy, what, file = name.split("/")
    result = await judged(FILES[name], policy)
    refusing = [finding.check for finding in result.findings if str(finding.then) == "refuse"]
    if what == "pass":
        assert (result.reply, refusing) == (None, [])
        assert result.passes
    else:
        assert file.split(".")[0] in refusing
        assert not result.passes
        assert result.reply is not None
        assert result.reply.startswith("5")


@pytest.mark.parametrize("policy", ["none", "baseline", "prospektr", "leadnest"])
def test_each_policy_is_shown_both_ways(policy: str) -> None:
    assert {name.split("/")[1] for name in FILES if name.startswith(policy + "/")} == {"pass", "refuse"}


async def test_nobody_at_a_domain_that_does_not_exist() -> None:
    """One recipient of two would not get it: the message goes on, and that is said."""
    result = await judged(
        FILES["prospektr/pass/plain.eml"], "prospektr", ["bob@customer.example", "eve@nowhere.invalid"]
    )
    assert (str(result.verdict), result.passes) == ("forward", False)
    assert [(f.check, f.recipient) for f in result.findings] == [("recipient-domain", "eve@nowhere.invalid")]
