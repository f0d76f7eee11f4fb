"""recipient-consent, recipient-jurisdiction, quiet-hours."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from pydantic import ValidationError
from relay import replies
from relay.address import parse
from relay.checks import quiet_hours, recipient_consent, recipient_jurisdiction
from relay.checks.quiet_hours import span, until_allowed
from relay.config import parse as parse_config
from relay.model import Consent, Envelope, Evidence, Mail, Recipient, RecipientFacts, Session, Tenant
from relay.policy_file import Policies, PolicyError, coverage, rule_of
from relay.ports import Unavailable
from relay.replies import Reply

NOW = datetime(2026, 3, 11, 12, tzinfo=UTC).timestamp()  # a Wednesday
DAY = 86400.0


def mail(
    *consents: Consent,
    to: str = "jo@example.com",
    stream: str = "marketing",
    region: str = "",
    now: float = NOW,
    transfers: tuple[str, ...] = (),
) -> Mail:
    facts = RecipientFacts(consents=consents, region=region, region_from="consent" if region else "")
    envelope = Envelope("", now, Tenant("acme", "leadnest", transfers=transfers), stream, parse("s@acme.example"))
    session = Session("", "127.0.0.1", "test", stream=stream)
    return Mail(now, session, envelope, Recipient(parse(to)), facts)


def found(check: Any, given: Mail, **settings: Any) -> Evidence | None:
    import json

    made = check.CHECK.settings.model_validate_json(json.dumps(settings), strict=True)
    return check.CHECK.run(given, made, None)  # type: ignore[no-any-return]


def reply_of(check: Any, evidence: Evidence) -> Reply:
    return evidence.reply or check.CHECK.reply  # type: ignore[no-any-return]


# -- recipient-consent -----------------------------------------------------------------------
OPT_IN = Consent("opt-in", "marketing", NOW - DAY, "form")
REQUESTED = Consent("requested", "transactional", NOW - DAY, "order 7")
LEADNEST = {"bases": ["opt-in", "double-opt-in", "explicit"], "transactional": ["requested"]}


def customer(days: float, region: str = "", basis: str = "existing-customer") -> Consent:
    return Consent(basis, "marketing", NOW - days * DAY, "shop", region=region)


@pytest.mark.parametrize(
    ("given", "settings", "why"),
    [
        (mail(OPT_IN), LEADNEST, None),
        (mail(), LEADNEST, "none"),
        (mail(customer(1)), LEADNEST, "basis"),
        (mail(customer(1), OPT_IN), LEADNEST, None),
        (mail(customer(1)), {}, None),
        (mail(Consent("opt-in", "marketing", NOW - 9 * DAY, withdrawn=NOW - DAY)), LEADNEST, "withdrawn"),
        (mail(Consent("", "all", NOW - DAY, withdrawn=NOW - DAY)), {}, "withdrawn"),
        (mail(Consent("opt-in", "marketing", NOW - 9 * DAY, until=NOW)), LEADNEST, "expired"),
        (mail(Consent("opt-in", "marketing", NOW - 9 * DAY, until=NOW + 1)), LEADNEST, None),
        # what is transactional
        (mail(stream="transactional"), {}, None),
        (mail(stream="transactional"), LEADNEST, "none"),
        (mail(REQUESTED, stream="transactional"), LEADNEST, None),
        (mail(Consent("opt-in", "all", NOW - DAY), stream="transactional"), LEADNEST, "basis"),
        # by region
        (mail(), {"only_for": ["CA", "DE"]}, None),
        (mail(to="jo@example.ca"), {"only_for": ["CA", "DE"]}, "none"),
        (mail(to="jo@example.de"), {"only_for": ["EU"]}, "none"),
        (mail(to="jo@example.fr"), {"only_for": ["CA", "DE"]}, None),
        (mail(to="jo@example.de", region="US"), {"only_for": ["DE"]}, None),  # what is on record counts before a guess
        (mail(region="CA-QC"), {"only_for": ["CA"]}, "none"),
        (mail(region="EU"), {"only_for": ["DE"]}, None),  # in doubt, no
        (mail(to="jo@example.io"), {"only_for": ["*"]}, None),
        # CASL: implied consent ends by itself
        (mail(customer(729), to="jo@example.ca"), {}, None),
        (mail(customer(731), to="jo@example.ca"), {}, "expired"),
        (mail(customer(731)), {}, None),
        (mail(customer(731), region="CA"), {}, "expired"),
        (mail(customer(180, basis="inquiry"), to="jo@example.ca"), {}, None),
        (mail(customer(182, basis="inquiry"), to="jo@example.ca"), {}, "expired"),
        (mail(customer(9999, basis="opt-in"), to="jo@example.ca"), {}, None),
        # other rules, beside these and instead of them
        (mail(customer(100)), {"rules": {"*": {"existing-customer": "90 days"}}}, "expired"),
        (mail(customer(100), to="jo@example.ca"), {"rules": {"*": {"existing-customer": "90 days"}}}, None),
        (mail(customer(731), to="jo@example.ca"), {"rules": {"CA": {}}}, None),
        (mail(customer(100), to="jo@example.fr"), {"rules": {"EU": {"existing-customer": "3 months"}}}, "expired"),
        (
            mail(customer(100), to="jo@example.fr"),
            {"rules": {"EU": {"existing-customer": "3 months"}, "FR": {"existing-customer": "3 years"}}},
            None,
        ),
    ],
)
def test_consent(given: Mail, settings: dict[str, Any], why: str | None) -> None:
    evidence = found(recipient_consent, given, **settings)
    assert (evidence.seen["why"] if evidence else None) == why
    if evidence:
        assert reply_of(recipient_consent, evidence) is replies.NO_CONSENT


@pytest.mark.parametrize(
    ("stream", "wanted"), [("marketing", "opt-in, double-opt-in, explicit"), ("transactional", "requested")]
)
def test_who_is_refused_learns_which_bases_count(stream: str, wanted: str) -> None:
    rule = rule_of(Policies().get("leadnest"), "recipient-consent")
    assert rule is not None
    given = mail(Consent("existing-customer", stream, NOW - DAY, "shop"), stream=stream)
    evidence = recipient_consent.CHECK.run(given, rule.settings, None)
    assert evidence is not None and evidence.seen["why"] == "basis" and evidence.seen["wanted"] == wanted
    assert "the evidence says which are wanted" in rule.check.remedy


def test_casl_goes_by_the_calendar() -> None:
    begun = datetime(2024, 3, 11, 12, tzinfo=UTC).timestamp()
    bought = Consent("existing-customer", "marketing", begun, "shop")
    at = datetime(2026, 3, 11, 12, tzinfo=UTC).timestamp()
    assert found(recipient_consent, mail(bought, to="jo@example.ca", now=at - 1)) is None
    evidence = found(recipient_consent, mail(bought, to="jo@example.ca", now=at))
    assert evidence is not None and evidence.seen["until"] == at


@pytest.mark.parametrize(
    ("consents", "reply"),
    [
        ((), replies.NO_CONSENT_YET),
        ((customer(9),), replies.NO_CONSENT_YET),
        ((Consent("opt-in", "marketing", 1.0, withdrawn=2.0),), replies.NO_CONSENT),
    ],
)
def test_while_consent_can_still_be_had_the_contact_stays(consents: tuple[Consent, ...], reply: Reply) -> None:
    evidence = found(recipient_consent, mail(*consents), pending=True, bases=["opt-in"])
    assert evidence is not None and reply_of(recipient_consent, evidence) is reply
    assert (replies.NO_CONSENT_YET.code, replies.NO_CONSENT_YET.enhanced) == (554, "5.7.0")
    assert (replies.NO_CONSENT.code, replies.NO_CONSENT.enhanced) == (550, "5.7.1")


def test_the_evidence_names_the_closest_consent_and_nobody() -> None:
    gone = Consent("opt-in", "marketing", NOW - 9 * DAY, "form 3", withdrawn=NOW - DAY)
    evidence = found(recipient_consent, mail(customer(9), gone, to="jo@example.de"), bases=["opt-in"])
    assert evidence is not None
    assert dict(evidence.seen) == {
        "why": "withdrawn", "purpose": "marketing", "wanted": "opt-in", "region": "DE", "region_from": "tld",
        "basis": "opt-in", "at": NOW - 9 * DAY, "source": "form 3", "withdrawn": NOW - DAY,
    }  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {"bases": ["mood"]},
        {"only_for": ["Germany"]},
        {"rules": {"CA": {"inquiry": "half a year"}}},
        {"rules": {"ZZ": {"inquiry": "6 months"}}},
        {"transactional": "requested"},
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        found(recipient_consent, mail(), **settings)


# -- recipient-jurisdiction --------------------------------------------------------------------
@pytest.mark.parametrize(
    ("to", "region", "transfers", "unknown", "refused"),
    [
        ("jo@example.de", "", ("EU",), "refuse", False),
        ("jo@example.us", "", ("EU",), "allow", True),
        ("jo@example.us", "", ("EU", "US"), "refuse", False),
        ("jo@example.de", "BR", ("EU",), "allow", True),
        ("jo@example.com", "DE", ("DE",), "refuse", False),
        ("jo@example.com", "", ("US",), "allow", False),
        ("jo@example.com", "", ("US",), "refuse", True),
        ("jo@example.com", "", ("*",), "refuse", True),
        ("jo@example.com", "", ("US",), "strictest", True),
        ("jo@example.com", "", ("EEA",), "strictest", False),
        ("jo@example.com", "", ("*",), "strictest", False),
        ("jo@example.io", "", ("IO",), "refuse", True),  # sold all over the world: says nothing
        ("jo@example.com", "EU", ("DE",), "allow", True),
        ("jo@example.cn", "", (), "refuse", False),  # nothing declared: coverage says so
        ("jo@[192.0.2.1]", "", ("EU",), "allow", False),
    ],
)
def test_jurisdiction(to: str, region: str, transfers: tuple[str, ...], unknown: str, refused: bool) -> None:
    evidence = found(recipient_jurisdiction, mail(to=to, region=region, transfers=transfers), unknown=unknown)
    assert (evidence is not None) is refused
    if evidence:
        reply = reply_of(recipient_jurisdiction, evidence)
        assert (reply.code, reply.enhanced) == (554, "5.7.0")


def test_the_evidence_says_how_the_region_is_known() -> None:
    def seen(**given: Any) -> dict[str, Any]:
        evidence = found(recipient_jurisdiction, mail(transfers=("EU",), **given), unknown="strictest")
        return dict(evidence.seen) if evidence else {}

    assert seen(to="jo@example.jp") == {"region": "JP", "region_from": "tld", "transfers": "EU"}
    assert seen(region="JP") == {"region": "JP", "region_from": "consent", "transfers": "EU"}
    evidence = found(recipient_jurisdiction, mail(transfers=("US",)), unknown="strictest")
    assert (
        evidence is not None and evidence.seen["region_from"] == "unknown" and evidence.seen["unknown"] == "strictest"
    )


def test_what_to_do_with_unknown_regions_must_be_said(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        found(recipient_jurisdiction, mail())
    file = tmp_path / "mine.yaml"
    file.write_text("policy: mine\nclauses:\n  - {id: A, says: x, checks: [recipient-jurisdiction]}\n")
    with pytest.raises(PolicyError, match=r"mine.yaml:3:\d+: .*recipient-jurisdiction must be given unknown"):
        Policies(tmp_path)
    # One that extends a policy where it is said need not say it again.
    file.write_text(
        "policy: mine\nextends: leadnest\nclauses:\n  - {id: A, says: x, checks: [recipient-jurisdiction]}\n"
    )
    Policies(tmp_path)


CONFIG = """
listen:
  - {host: 127.0.0.1, port: 0, tls: none, auth: none, tenant: acme}
next_hop: {host: 127.0.0.1, port: 25, tls: none}
operator: {name: Example Platform, from: postmaster@platform.example, abuse: abuse@platform.example}
tenants:
  acme: {policy: leadnest, transfers: %s}
"""


@pytest.mark.parametrize(("transfers", "enforced"), [("[]", "not-configured"), ("[eu, uk]", "partly")])
def test_coverage_says_whose_transfers_are_not_declared(tmp_path: Path, transfers: str, enforced: str) -> None:
    config = parse_config((CONFIG % transfers).encode(), "relay.yaml", folder=tmp_path)
    [row] = [row for row in coverage(Policies().get("leadnest"), config) if row["id"] == "O4"]
    assert row["enforced"] == enforced
    assert ("no transfers are declared for tenant acme" in row["why"]) is (transfers == "[]")
    if transfers != "[]":
        assert config.file_tenants()[0].transfers == ("EU", "GB")


# -- quiet-hours -------------------------------------------------------------------------------
def utc(day: int, hour: int, minute: int = 0, month: int = 3) -> float:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("to", "at", "hours", "wait"),
    [
        ("jo@example.de", utc(11, 12), {"DE": "08:00-20:00"}, None),  # 13:00 there
        ("jo@example.de", utc(11, 6, 59), {"DE": "08:00-20:00"}, 60),
        ("jo@example.de", utc(11, 7), {"DE": "08:00-20:00"}, None),
        ("jo@example.de", utc(11, 19), {"DE": "08:00-20:00"}, 12 * 3600),
        ("jo@example.de", utc(11, 18, 59), {"DE": "08:00-20:00"}, None),
        ("jo@example.de", utc(11, 3), {"FR": "08:00-20:00"}, None),  # not named
        ("jo@example.de", utc(11, 3), {"*": "08:00-20:00"}, 4 * 3600),
        ("jo@example.de", utc(11, 3), {"EU": "05:00-20:00", "*": "08:00-20:00"}, 3600),
        ("jo@example.de", utc(11, 3), {"DE": "04:00-20:00", "EU": "05:00-20:00"}, None),
        ("jo@example.com", utc(11, 3), {"*": "08:00-20:00"}, None),  # nobody knows where
        ("jo@example.eu", utc(11, 3), {"*": "08:00-20:00"}, None),
        ("jo@example.jp", utc(11, 3), {"JP": "22:00-06:00"}, 10 * 3600),  # 12:00 there; over midnight
        ("jo@example.jp", utc(11, 15), {"JP": "22:00-06:00"}, None),
        ("jo@example.jp", utc(11, 14, 59), {"JP": "00:00-24:00"}, None),
        # several clocks, all of which must allow it: Newfoundland to the Pacific, in summer
        ("jo@example.ca", utc(8, 15, 30, 7), {"CA": "08:00-20:00"}, None),  # 08:30 in Vancouver, 13:00 in St. John's
        ("jo@example.ca", utc(8, 14, 30, 7), {"CA": "08:00-20:00"}, 1800),
        ("jo@example.ca", utc(8, 22, 29, 7), {"CA": "08:00-20:00"}, None),
        ("jo@example.ca", utc(8, 22, 30, 7), {"CA": "08:00-20:00"}, 16.5 * 3600),
        ("jo@example.us", utc(8, 12, 0, 7), {"US": "08:00-09:00"}, None),  # never at once: binds nobody
        # the clocks go forward in Germany on 29 March 2026, back in New York on 1 November
        ("jo@example.de", utc(28, 22), {"DE": "08:00-20:00"}, 8 * 3600),
        ("jo@example.de", utc(28, 23), {"DE": "02:30-20:00"}, 2.5 * 3600),  # 02:30 is not there that night
        # and back on 25 October: 02:00 to 03:00 comes twice
        ("jo@example.de", utc(25, 0, 29, 10), {"DE": "02:30-20:00"}, 60),
        ("jo@example.de", utc(25, 1, 5, 10), {"DE": "02:30-20:00"}, 25 * 60),
    ],
)
def test_quiet_hours(to: str, at: float, hours: dict[str, str], wait: float | None) -> None:
    evidence = found(quiet_hours, mail(to=to, now=at), hours=hours)
    assert (evidence.retry_in if evidence else None) == wait
    if evidence:
        reply = reply_of(quiet_hours, evidence)
        assert (reply.code, reply.enhanced) == (451, "4.7.1")
        assert found(quiet_hours, mail(to=to, now=at + evidence.retry_in), hours=hours) is None


def test_no_hours_no_finding() -> None:
    assert found(quiet_hours, mail(to="jo@example.de", now=utc(11, 3))) is None


@pytest.mark.parametrize("country", ["US", "RU", "AU", "BR", "DE", "IN", "NP"])
def test_whenever_it_is_the_wait_ends_in_the_hours_of_every_clock(country: str) -> None:
    from relay.regions import zones

    hours = span("09:00-21:00")
    for step in range(0, 366 * 24, 37):
        now = utc(1, 0, 0, 1) + step * 3600 + 1234.5
        wait, zone = until_allowed(now, hours, zones(country))
        assert bool(zone) is (wait > 0)
        for clock in zones(country):
            local = datetime.fromtimestamp(now + wait, clock)
            assert 9 <= local.hour < 21, (country, now, clock)
        if wait > 1:  # and not longer than needed
            just_before = [datetime.fromtimestamp(now + wait - 1, clock) for clock in zones(country)]
            assert any(not 9 <= local.hour < 21 for local in just_before)


@pytest.mark.parametrize("text", ["", "8-20", "08:00", "24:00-08:00", "08:00-25:00", "08:00-08:00", "08:60-09:00"])
def test_no_hours(text: str) -> None:
    with pytest.raises(ValueError, match="hours"):
        span(text)


def test_a_system_without_time_zones_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(place: str) -> tuple[ZoneInfo, ...]:
        raise ZoneInfoNotFoundError("No time zone found")

    monkeypatch.setattr("relay.checks.quiet_hours.zones", none)
    with pytest.raises(Unavailable):
        found(quiet_hours, mail(to="jo@example.de"), hours={"DE": "08:00-20:00"})
    assert quiet_hours.CHECK.outage == "skip"
