"""Regions, country codes that say nothing, terms of law, clocks."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from relay import regions


@pytest.mark.parametrize(
    ("domain", "region"),
    [
        ("example.de", "DE"),
        ("mail.example.co.uk", "GB"),
        ("example.gb", "GB"),
        ("example.eu", "EU"),
        ("example.xn--p1ai", "RU"),
        ("example.ca", "CA"),
        ("example.in", "IN"),
        ("example.com", ""),
        ("example.io", ""),
        ("example.ai", ""),
        ("example.co", ""),
        ("example.me", ""),
        ("example.tv", ""),
        ("example.fm", ""),
        ("example.ly", ""),
        ("example.to", ""),
        ("example.cc", ""),
        ("example.ws", ""),
        ("example.berlin", ""),
        ("[192.0.2.1]", ""),
        ("de", "DE"),
        ("", ""),
    ],
)
def test_what_a_domain_lets_guess(domain: str, region: str) -> None:
    assert regions.of_domain(domain) == region


@pytest.mark.parametrize(
    ("text", "one"), [("de", "DE"), (" uk ", "GB"), ("eea", "EEA"), ("*", "*"), ("world", "*"), ("ca-qc", "CA-QC")]
)
def test_a_region_has_one_form(text: str, one: str) -> None:
    assert regions.region(text) == one


@pytest.mark.parametrize("text", ["", "ZZ", "Germany", "ZZ-1", "CA-", "CA-ABCD", "D\u200bE", "\ud800"])
def test_no_region(text: str) -> None:
    with pytest.raises(ValueError, match="not a region"):
        regions.region(text)


@pytest.mark.parametrize(
    ("covered", "place", "is_"),
    [
        (["DE"], "DE", True),
        (["EU"], "DE", True),
        (["EU"], "RE", True),  # Reunion, Martinique ... are in the Union; French Polynesia and Greenland are not
        (["EEA"], "MQ", True),
        (["EU"], "PF", False),
        (["US"], "PR", True),
        (["PR"], "US", False),
        (["GB"], "PR", False),
        (["EU"], "GL", False),
        (["EU"], "NO", False),
        (["EEA"], "NO", True),
        (["EEA"], "EU", True),
        (["DE"], "EU", False),
        (["*"], "EU", True),
        (["*"], "BR", True),
        (["CA"], "CA-QC", True),
        (["CA-QC"], "CA-QC", True),
        (["CA-QC"], "CA", False),
        ([], "CA", False),
        (["GB", "US"], "GB", True),
    ],
)
def test_covering(covered: list[str], place: str, is_: bool) -> None:
    assert regions.covers(covered, place) is is_


def at(year: int, month: int, day: int) -> float:
    return datetime(year, month, day, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("begins", "term", "ends"),
    [
        (at(2024, 3, 15), "2 years", at(2026, 3, 15)),
        (at(2024, 2, 29), "2 years", at(2026, 2, 28)),
        (at(2024, 2, 29), "1 year", at(2025, 2, 28)),
        (at(2025, 8, 31), "6 months", at(2026, 2, 28)),
        (at(2025, 12, 31), "1 month", at(2026, 1, 31)),
        (at(2025, 11, 30), "1 month", at(2025, 12, 30)),
        (at(2025, 6, 1), "6 months", at(2025, 12, 1)),
        (at(2025, 1, 1), "90 days", at(2025, 4, 1)),
    ],
)
def test_terms_go_by_the_calendar(begins: float, term: str, ends: float) -> None:
    assert regions.ends(begins, term) == ends


def test_a_term_beyond_the_calendar_ends_with_it() -> None:
    assert regions.ends(at(2025, 1, 1), "9999 years") > at(9000, 1, 1)


@pytest.mark.parametrize("text", ["", "2", "years", "0 days", "-1 days", "2 weeks", "2  years", "99999 days"])
def test_no_term(text: str) -> None:
    with pytest.raises(ValueError, match="not a term"):
        regions.term(text)


def test_every_country_has_its_clocks() -> None:
    for country in regions.COUNTRIES:
        assert regions.zones(country), country
    assert len(regions.zones("US")) >= 6
    assert regions.zones("US-CA") == regions.zones("US")
    assert regions.zones("EU") == regions.zones("") == ()


def test_a_clock_that_is_newer_than_the_system_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def older(name: str) -> ZoneInfo:
        if name in ("America/Coyhaique", "Europe/Berlin"):
            raise ZoneInfoNotFoundError(name)
        return ZoneInfo(name)

    monkeypatch.setattr(regions, "ZoneInfo", older)
    clocks = regions._clocks.__wrapped__
    assert [clock.key for clock in clocks("CL")] == ["America/Santiago", "Pacific/Easter"]
    with pytest.raises(ZoneInfoNotFoundError):
        clocks("DE")
