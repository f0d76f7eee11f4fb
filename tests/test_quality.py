"""What real mail taught the checks, and the runner that measures them (docs/quality.md).  All of it written here."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from relay.checks import postal_address, unsubscribe_link
from relay.message import Message
from tests.quality import corpus
from tests.quality.__main__ import Quality, table

ROOT = Path(__file__).resolve().parent.parent


def text(body: str) -> object:
    raw = b"From: a@acme.example\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + body.encode()
    return Message(raw).visible.views[0]


@pytest.mark.parametrize(
    "address",
    [
        "Acme Foundation, 12 K Street NW, Washington, D.C. 20005",
        "Acme Gardens\n4400 9th Ave. NE\nSeattle, Wa 98105",
        "Acme Stores, 77 East River Freeway, Irving, TX 75063",
        "Acme\n18 North Oak Street\nConcord\nNew Hampshire   03301\nUnited States",
        "Acme Circle | P O Drawer 77 | Tupelo, MS 38801",
        "Acme Verlag, Rosenring 4. 21409 Embsen",
        "Acme KG, Am-Markt-Straße 5-7 Emmerich am Rhein, NRW 46446",
    ],
)
def test_addresses_as_newsletters_write_them(address):
    assert postal_address.looks_like_one(address)


@pytest.mark.parametrize(
    "words",
    [
        "New York, NY",
        "Paid for by Friends of Acme. 39 gifts from 33601 so far, of 120 wanted.",
        "During 2019 we sent 12345 letters.",
        "Zip Code: 33601",
        "The offering 12345 is closed, In 20001 words.",
    ],
)
def test_what_only_has_numbers_is_no_address(words):
    assert not postal_address.looks_like_one(words)


def test_the_link_in_front_of_its_text_may_be_long():
    """Plain forms made from the HTML: the URL, a line end, then what the link said."""
    url = "https://click.news.example/?qs=" + "0f" * 300
    assert unsubscribe_link.has_opt_out(text(f"Our shops\r\n{url}\r\nUnsubscribe \r\n\r\n(c) Acme"))
    assert not unsubscribe_link.has_opt_out(text(f"{url}\r\n{'Our shops are open. ' * 20}\r\nUnsubscribe \r\n"))


def test_remove_this_address():
    assert unsubscribe_link.has_opt_out(
        text("To remove this e-mail address from our list, please click below:\r\nhttps://acme.example/x?f=OO")
    )


@pytest.mark.parametrize(
    "words",
    [
        "Help us to stop the war: https://acme.example/give",
        "What people don't get about trains: https://acme.example/read",
        "We won't get a second chance. https://acme.example/give",
        "Discount taken off sale price. https://acme.example/shop",
        "This box is not read, and you will not receive a response. https://acme.example/help",
        "Text NEWS to 12345 for news of us on your phone. STOP to end. Msg & Data rates may apply. https://acme.example",
        "CHECK OUT NOW and contact us with questions: https://acme.example",
        "https://acme.example/blog/why-three-in-four-leave-spain-and-go-home",
    ],
)
def test_words_of_leaving_that_are_no_way_out(words):
    assert not unsubscribe_link.has_opt_out(text(words))


@pytest.mark.parametrize(
    "words",
    [
        "To stop all mails from us: https://acme.example/x",
        "Stop the newsletter: https://acme.example/x",
        "You don't want to get these letters? https://acme.example/x",
        "You would rather not receive an email like this? https://acme.example/x",
        "https://acme.example/leave/8f2",
        "https://acme.example/m?do=remove&id=8",
        "https://lists.acme.example/stop-email/8",
    ],
)
def test_words_of_leaving_that_are_one(words):
    assert unsubscribe_link.has_opt_out(text(words))


def test_a_letter_of_the_country_before_the_code_makes_no_difference():
    page = corpus.wrapped(PAGE.replace("1 Main Street, Springfield, IL 62701", "Marktstr. 7, D-79541 Lörrach").encode())
    profiles = {"template.example": ("Acme GmbH", "Marktstraße 7, 79541 Lörrach, Deutschland")}
    assert look(corpus.with_one_click(page), profiles)["found"] == {}


# -- the runner ---------------------------------------------------------------------------------
PAGE = (
    "<html><body><p>Our autumn sale has begun.</p><p><a href='https://acme.example/sale'>To the sale</a></p>"
    "<p>Acme, 1 Main Street, Springfield, IL 62701. "
    "<a href='https://acme.example/u/1'>Unsubscribe</a> or <a href='https://acme.example/p'>change what you get</a></p>"
    "</body></html>"
)


def look(raw: bytes, profiles: dict[str, tuple[str, str]] | None = None):
    quality = Quality(profiles or {})
    try:
        return asyncio.run(quality.look(raw))
    finally:
        quality.aside.close()


def test_an_honest_page_passes_and_without_its_opt_out_it_is_found():
    honest = corpus.wrapped(PAGE.encode())
    row = look(corpus.with_one_click(honest))
    assert row["found"] == {} and row["prospektr"] == row["leadnest"] == []
    cut = corpus.without_opt_out(honest)
    row = look(corpus.with_one_click(cut))
    assert set(row["found"]) == {"unsubscribe-link"} and row["prospektr"] == ["unsubscribe-link"]


def test_with_profiles_the_address_read_by_a_person_must_be_there():
    honest = corpus.with_one_click(corpus.wrapped(PAGE.encode()))
    right = {"template.example": ("Acme Ltd", "1 Main St., Springfield, Illinois 62701, USA")}
    wrong = {"template.example": ("Acme Ltd", "2 Main St., Springfield, Illinois 62701, USA")}
    assert look(honest, right)["found"] == {}
    assert set(look(honest, wrong)["found"]) == {"postal-address"}
    assert look(honest, {"other.example": ("", "")}) is None


def test_one_click_fields_stay_at_the_host_of_the_mail():
    raw = (
        b"From: a@acme.example\r\nList-Unsubscribe: <mailto:u@acme.example>,\r\n <http://t.example/u>\r\n\r\nHello\r\n"
    )
    made = corpus.with_one_click(raw)
    assert made.count(b"List-Unsubscribe:") == 1 and b"<https://t.example/u/1>" in made
    assert made.endswith(b"\r\n\r\nHello\r\n")


def test_messages_of_a_folder(tmp_path):
    (tmp_path / "a.eml").write_bytes(b"Subject: one\n\nx\n")
    (tmp_path / "b.mbox").write_bytes(b"From a\nSubject: two\n\n>From x\n\nFrom b\nSubject: three\n\nx\n")
    (tmp_path / "c.html").write_bytes(b"<p>four</p>")
    (tmp_path / "d.jpg").write_bytes(b"\xff\xd8")
    found = dict(corpus.messages([tmp_path]))
    assert list(found) == ["a.eml", "b.mbox#1", "b.mbox#2", "c.html"]
    assert found["b.mbox#1"] == b"Subject: two\n\nFrom x\n\n" and found["c.html"].endswith(b"<p>four</p>")


def test_the_table_and_the_json(tmp_path):
    rows = [
        {"found": {"phi": {}}, "prospektr": [], "leadnest": ["phi"]},
        {"found": {}, "prospektr": [], "leadnest": []},
    ]
    lines = table("ham", ["phi", "rate"], rows)
    assert "| phi | ham | 2 | 1 | 50.0% |" in lines and lines[-1] == "Nothing found by: rate."
    (tmp_path / "a.html").write_text(PAGE)
    done = subprocess.run(
        [sys.executable, "-m", "tests.quality", str(tmp_path), "--json"], cwd=ROOT, capture_output=True, check=True
    )
    assert json.loads(done.stdout)["found"].keys() == {"one-click-unsubscribe"}
