# ruff: noqa: E501 - one case a line
"""Phrase sets: the little language of `say`, files of the operator, and what a message says in whatever dress."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from relay.message import Message, passages
from relay.phrases import CHECKS, PhraseError, Phrases, problems

SHIPPED = Path(__file__).parent.parent / "relay" / "data" / "phrases"
NOTHING = SHIPPED / "nowhere"  # no shipped phrases

HEAD = "check: prohibited-content\nlanguage: en\n"


def phrases(tmp_path: Path, say: str, words: str = "", score: int = 5) -> Phrases:
    (tmp_path / "own.yaml").write_text(
        HEAD + words + f"categories:\n  things:\n    one: {{score: {score}, say: {say}}}\n", encoding="utf-8"
    )
    return Phrases(tmp_path, shipped_folder=NOTHING)


def hit(found: Phrases, text: str) -> bool:
    return bool(found.in_text(text))


@pytest.mark.parametrize(
    ("say", "text", "expected"),
    [
        ("red house", "A RED\n house!", True),
        ("red house", "a red, house", True),
        ("red house", "a red big house", False),
        ("red house", "a redhouse", False),
        ("red house", "hundred house", False),
        ("red house", "a red housemaid", False),
        ("red * house", "a red house", True),
        ("red * house", "a red and very old house", True),
        ("red * house", "a red and very old stone house", False),
        ("* red house *", "red house", True),
        ("(red|blue) house", "the blue house", True),
        ("(red|blue) house", "the green house", False),
        ("the (red |) house", "the house", True),
        ("the (red (old |) |) house", "the red old house", True),
        ("{colour} house", "a yellow house", True),
        ("{colour} house", "a light blue house", True),
        ("{colour} house", "a light yellow house", True),  # beside it, "yellow house" stands there
        ("{colour} house", "a light house", False),
        ("grosse strasse", "Große Straße", True),
        ("café", "CAFE\u0301 noir", True),
        ("don't go", "don’t go", True),
        ("free money", "fr\u200bee mo\u00adney", True),
        ("free money", "f\u202eree mon\u2060ey", True),
        ("free money", "frее mоney", True),  # Cyrillic e and o
        ("free money", "ｆｒｅｅ ｍｏｎｅｙ", True),
        ("приз", "ваш приз здесь", True),
        ("आपकी रिपोर्ट", "यह आपकी रिपोर्ट है।", True),
        ("आपकी रिपोर्ट", "यह आपकी रिपोर् है", False),
    ],
)
def test_what_a_say_finds(tmp_path, say, text, expected):
    found = phrases(tmp_path, f'"{say}"', "words: {colour: [yellow, light blue]}\n")
    assert hit(found, text) is expected
    assert hit(found, f"Something else first.\n\nAnd then: {text}\n\nAnd more.") is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red house", True),
        ("a red house of straw", True),
        ("a red house of cards", False),
        ("a red house of very old cards", False),
        ("a red house boat", False),
        ("a red house boats", True),
        ("of cards, a red house", True),
        ("a red house of cards is no red house", True),  # one of the two is meant as it is said
    ],
)
def test_what_stands_right_behind_can_make_it_another_thing(tmp_path, text, expected):
    found = phrases(tmp_path, '"red house", unless: ["of * {thing}", boat]', "words: {thing: [cards]}\n")
    assert hit(found, text) is expected


def test_a_wrong_unless_is_told_with_its_place(tmp_path):
    with pytest.raises(PhraseError, match=r"own.yaml:5:.*categories.things.one.unless.0: \( has no other half"):
        phrases(tmp_path, 'red, unless: "(a"')


@pytest.mark.parametrize(
    ("say", "what"),
    [
        ('"a (b"', "( has no other half"),
        ('"a b)"', ") has no other half"),
        ('"a | b"', "| stands outside of ( )"),
        ('"{colors} house"', "no such name in words; did you mean 'colours'? (got 'colors')"),
        ('"a { b"', "{ has no other half"),
        ('"(a|) *"', "has a wording without a word"),
        ('"..."', "has a wording without a word"),
        ('"number(s|)"', "a choice stands for whole words; put a space beside it ('r(')"),
        ('"a * b * c * d * e"', "more than 3 gaps (*)"),
        ('"((((((a))))))"', "brackets are nested too deeply"),
        ('"' + "a " * 30 + '"', "more than 24 words"),
        ("[]", "must not be empty"),
        ("{}", "must be a list"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path, say, what):
    with pytest.raises(PhraseError) as caught:
        phrases(tmp_path, say, "words: {colours: [red]}\n")
    lines = str(caught.value).split("\n")
    assert len(lines) == 1
    assert lines[0].startswith(f"{tmp_path / 'own.yaml'}:6:")
    assert what in lines[0]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "own.yaml:1:1: empty; check, language and categories are missing"),
        ("\xff", "own.yaml:1:1: not UTF-8 text"),
        ("check: abuse\nlanguage: en\ncategories: {}\n", "own.yaml:1:8: check: must be "),
        (HEAD + "categories:\n  things:\n    one: {score: 500, say: a}\n", "own.yaml:5:18: categories.things.one.score: must be at most 100"),
        (HEAD + "categories:\n  things:\n    one: {scores: 5, say: a}\n", "own.yaml:5:11: categories.things.one.scores: unknown setting; did you mean 'score'?"),
        (HEAD + "categories:\n  Bad Name:\n    one: {score: 5, say: a}\n", "own.yaml:4:3:"),
        (HEAD + "words: {w: ['!?']}\ncategories: {t: {one: {score: 5, say: '{w} a'}}}\n", "own.yaml:3:12: words.w: an entry without a word"),
        ("check: [unclosed\n", "own.yaml:"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong(tmp_path, text, what):
    (tmp_path / "own.yaml").write_bytes(text.encode("latin-1"))
    found = problems(tmp_path)
    assert what in "\n".join(found)


def test_an_operators_file_stands_in_the_place_of_the_shipped_one(tmp_path):
    assert Phrases().in_text("I will kill you")
    (tmp_path / "abusive-language.en.yaml").write_text(
        "check: abusive-language\nlanguage: en\ncategories: {own: {one: {score: 10, say: blockhead}}}\n"
    )
    (tmp_path / "more.yaml").write_text(HEAD + "categories: {tea: {one: {score: 10, say: green tea}}}\n")
    own = Phrases(tmp_path)
    assert not own.in_text("I will kill you")
    assert own.categories("abusive-language").count("own") == 1
    said = own.in_text("Blockhead! Ich bringe dich um. Green tea?")
    assert {(one.category, one.id, one.language) for some in said.values() for one in some} == {
        ("own", "one", "en"), ("threat", "umbringen", "de"), ("tea", "one", "en"),
    }  # fmt: skip


def test_a_reload_that_fails_changes_nothing_and_one_that_works_forgets_what_was_read(tmp_path):
    found = phrases(tmp_path, "green tea")
    assert hit(found, "green tea") and not hit(found, "black tea")
    (tmp_path / "own.yaml").write_text("check: what\n")
    with pytest.raises(PhraseError):
        found.reload(tmp_path)
    assert hit(found, "green tea")
    (tmp_path / "own.yaml").write_text(HEAD + "categories: {tea: {one: {score: 1, say: black tea}}}\n")
    found.reload(tmp_path)
    assert not hit(found, "green tea") and hit(found, "black tea")


def test_subject_and_both_forms_are_read_and_a_phrase_counts_once(tmp_path):
    found = phrases(tmp_path, "green tea")
    body = "From: a@x.example\r\nSubject: {}\r\nContent-Type: text/html\r\n\r\n<p>{}</p>"
    for subject, text, expected in (
        ("Green tea", "nothing", 1),
        ("Hello", "<b>green</b> tea", 1),
        ("=?utf-8?q?green_tea?=", "green tea, GREEN TEA", 1),
        ("Hello", "<!-- green tea -->", 0),
    ):
        said = found.said(Message.parse(body.format(subject, text).encode()))
        assert len(said.get("prohibited-content", ())) == expected


def test_every_check_has_shipped_phrases_in_the_languages_of_campaigns():
    found = Phrases()
    assert not problems(SHIPPED)
    for check in CHECKS:
        assert found.categories(check)
    languages = {path.name.split(".")[1] for path in SHIPPED.glob("abusive-language.*")}
    assert languages >= {"en", "de", "fr", "es", "it", "nl", "pt", "hi", "pl", "sv"}


# -- hostile texts -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        "kill " * 60_000,
        "your hiv " * 30_000,
        "i will " * 40_000,
        "\n\n".join(["i will kill"] * 30_000),
        "a\u0300\u0301\u0315\u0316" * 60_000,
        "\u0315\u0316" * 100_000,
        "\ufdfa" * 200_000,
        "\ud800\udfff" * 1000 + "kill",
        "\u202e" * 100_000,
        "\x00" * 100_000,
        "अ" + "\u093c\u094d" * 80_000,
        "x" * 300_000,
    ],
    ids=range(12),
)
def test_no_text_takes_long(text):
    from time import process_time

    found = Phrases()
    found.in_text("warm")
    before = process_time()
    found.in_text(text)
    assert process_time() - before < 1.0  # some ten milliseconds; far below what a square would take


def test_a_text_that_is_no_text_does_not_hide_a_phrase_from_the_next_message(tmp_path):
    found = phrases(tmp_path, "green * tea")
    hostile = "\n\n".join(f"green {n} {n} {n} {n}" * 20 for n in range(600))
    found.in_text(hostile + "\n\nsome green herbal tea")
    assert hit(found, "some green herbal tea")


# -- passages ----------------------------------------------------------------------------------
def test_passages_are_bounded_and_lose_nothing_within():
    text = "one\r\ntwo\r\n\r\nthree\n\n" + "\n".join(f"line {n} of a long table with many words" for n in range(200))
    found = passages.passages(text)
    assert found[:2] == ["one\ntwo", "three"]
    assert "\n".join(found[2:]).count("line") == 200
    assert all(len(one) <= 1100 for one in found)
    assert len(passages.passages("\n\n" * 100_000)) <= passages.MOST_PASSAGES
    assert len(passages.passages(("x" * 999 + "\n") * 5000)) <= passages.MOST_PASSAGES


def test_a_greeting_of_another_length_changes_no_other_passage():
    table = "\n".join(f"line {n} of a long table with rather many words in it, so that it is long" for n in range(100))
    one, other = passages.passages("Hi Al,\n" + table), passages.passages("Hi Alexandra,\n" + table)
    assert set(one) ^ set(other) == {"Hi Al,", "Hi Alexandra,"}
    assert "\n".join(one) == "Hi Al,\n" + table


def test_words_around_a_word_are_looked_at_once(tmp_path):
    found = phrases(tmp_path, "green * tea")
    text = " ".join(f"w{n}" for n in range(60)) + " some green herbal tea " + " ".join(f"v{n}" for n in range(60))
    assert hit(found, f"Hello Ann {text}")
    for pattern in {pattern for patterns in found._anchors.values() for pattern in patterns}:
        pattern._compiled = None
        pattern.source = "(("  # nothing could be looked for
    assert hit(found, f"Hello Bob {text} yours, Carl")
    with pytest.raises(re.error):
        hit(found, text.replace("v3", "u3"))


def test_an_anchor_that_stands_everywhere_is_looked_for_some_times_only(tmp_path):
    found = phrases(tmp_path, "green * tea")
    assert hit(found, " ".join(f"green{n} green x{n}" for n in range(15)) + " green herbal tea")
    assert not hit(found, " ".join(f"green{n} green x{n}" for n in range(25)) + " x" * 30 + " green herbal tea")


# -- words ---------------------------------------------------------------------------------------
@given(st.text(st.characters(max_codepoint=255) | st.sampled_from(passages._SIGNS), max_size=300))
@example("".join(map(chr, range(256))))
@example("a".join(map(chr, range(256))))
@example("\u00bd" * 400 + "\u00df" * 400)
def test_words_of_latin_letters_are_those_of_any(text):
    assert passages._of_latin_1(text) in (None, passages._of_any(text))


def test_texts_of_the_west_take_the_short_way():
    for text in (
        "Größe: 5 m² für 3 €",
        "ça va, à bientôt – “œuvre”".replace("œ", "oe"),
        "mañana ¿sí? 1½ ª º",
        "æøå ÆØÅ þ",
    ):
        assert passages._of_latin_1(text) == passages._of_any(text) == passages.words(text)
    assert passages._of_latin_1("5 \u00b5g") is None and passages.words("5 \u00b5g") == ["5", "\u03bcg"]
    assert passages._of_latin_1("\u0430bc") is None


def test_what_was_read_is_read_once():
    seen: list[str] = []
    known = passages.Remembered(lambda passage: seen.append(passage) or len(passage))
    assert known(["a", "bb", "a"]) == [1, 2, 1] and known(["bb"]) == [2]
    assert seen == ["a", "bb"]
