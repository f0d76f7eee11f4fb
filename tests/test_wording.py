"""What is remembered of pieces of texts changes no answer."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from relay.checks import opt_out, postal_address, sender_identity, unsubscribe_link
from relay.checks.wording import EDGE, Spelling, Worked, cut, has, has_in, phrase
from relay.message.html import Link, View

WORDS = (
    " ", "\n", "\n\n", ". ", "word ", "unsubscribe ", "Reply STOP ", "'no' ", "no longer wish to receive ",
    "not interested ", "https://a.example/c ", "click here ", "nicht mehr erhalten ", "Rue ", "1 Main St ",
    "New\n\nYork ", "D-\n\n79541 Lörrach ",
    "p\n\no box 5 ", "Müller ", "İstanbul ", "Acme Outreach ", "lorem ipsum\n" * 30, "lorem ipsum " * 90,
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(WORDS), max_size=14).map("".join)


@given(TEXTS, st.booleans())
@example("x", True)
def test_pieces_are_the_text_or_its_ends(text: str, long: bool) -> None:
    if long:
        text += "a line\n" * 3000
        assert "".join(cut(text)) == text[:EDGE] + "\n\n" + text[-EDGE:]
    else:
        assert "".join(cut(text)) == text
    assert all(piece.endswith("\n") for piece in cut(text)[:-1])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_greeting_does_not_move_what_stands_below(end: str) -> None:
    body = "\n\n".join(f"Paragraph {number}. " + "Some words of it. " * 9 for number in range(8))
    ann, bob = [cut(f"Dear {name},\n\n{body}".replace("\n", end)) for name in ("Ann", "Wilhelmina")]
    assert len(ann) > 3
    assert ann[1:] == bob[1:]


def test_each_piece_is_worked_out_once_and_not_for_ever() -> None:
    asked = []
    worked = Worked(lambda piece: asked.append(piece) or len(piece), most=2)  # type: ignore[func-returns-value]
    assert [worked(piece) for piece in ("a", "bb", "a", "ccc", "a")] == [1, 2, 1, 3, 1]
    assert asked == ["a", "bb", "ccc", "a"]


def whole(text: str, kind: str) -> bool:
    """Whether a way out is found in a text that is not cut: as one piece it is read in one go."""
    view = View("html" if kind == "html" else "plain", text, LINKS)
    view.worked_out["pieces"] = [text]
    return unsubscribe_link.has_opt_out(view)


LINKS = (Link("https://a.example/c/1", "Click here"),)


@settings(max_examples=200)
@given(TEXTS, st.sampled_from(("html", "plain")))
@example("word " * 300 + "\nreply and say\n\n'no' to me", "plain")
@example("İ\n" * 300 + "if you no longer wish to receive this, click here", "html")
def test_a_way_out_is_found_whole_or_in_pieces(text: str, kind: str) -> None:
    view = View("html" if kind == "html" else "plain", text[: 2 * EDGE], LINKS)
    assert unsubscribe_link.has_opt_out(view) == whole(text[: 2 * EDGE], kind)


PHRASES = ("1 Main St, New York", "D-79541 Lörrach", "PO Box 5", "Rue", "Acme Outreach Ltd", "word word", "New York")
SPELLINGS = (postal_address._SPELLING, sender_identity._SAME)


@settings(max_examples=200)
@given(TEXTS, st.sampled_from(PHRASES), st.sampled_from(SPELLINGS))
@example("lorem ipsum\n" * 40 + "1 Main St\nNew\n\nYork", "1 Main St, New York", SPELLINGS[0])
@example("lorem ipsum " * 17 + "New\n\nYork", "New York", SPELLINGS[0])
def test_a_phrase_is_found_whole_or_in_pieces(text: str, wanted: str, spelling: Spelling) -> None:
    found = phrase(wanted, spelling)
    assert found is not None
    text = text[: 2 * EDGE]
    if has_in(text, [found], spelling):
        assert has(View("plain", text, ()), [found], spelling)


@settings(max_examples=300)
@given(st.from_regex(opt_out.ADDRESS))
def test_the_addresses_that_say_something_have_the_letters_for_it(address: str) -> None:
    found = opt_out.ADDRESS.search(address)
    assert found is not None
    assert any(letters in found[0] for letters in opt_out.ADDRESS_LETTERS)


def test_a_link_says_so_in_any_place() -> None:
    others = [Link(f"https://a.example/{number}", "Buy") for number in range(20)]
    for one in (Link("https://a.example/OptOut/1", "x"), Link("https://a.example/c", "Unsubscribe")):
        assert unsubscribe_link.has_opt_out(View("html", "x", (*others[:7], one, *others[7:])))
        assert unsubscribe_link.has_opt_out(View("html", "x", (one,)))
    assert not unsubscribe_link.has_opt_out(View("html", "x", tuple(others)))
    assert not unsubscribe_link.has_opt_out(View("html", "x", (Link("#optout", "Unsubscribe"), *others)))


def test_of_very_many_long_addresses_the_ends_are_looked_at() -> None:
    others = [Link(f"https://a.example/stopped/{number}/{'x' * 1900}", "Buy") for number in range(300)]
    for place, found in ((10, True), (150, False), (290, True)):
        links = (*others[:place], Link("https://a.example/optout/1", "x"), *others[place:])
        assert unsubscribe_link.has_opt_out(View("html", "x", links)) is found


def test_no_pattern_goes_over_the_end_of_a_line() -> None:
    """What pieces rely on."""
    for pattern in (opt_out.SAYS, opt_out.NO_THANKS, opt_out.ORDER):
        assert (
            "\\s" not in pattern.pattern
            and "\\W" not in pattern.pattern
            and "." not in re.sub(r"\\\.", "", pattern.pattern)
        )
        assert "[^" not in pattern.pattern
