"""Lists of the operator: what they hold, cover and take away, and how a file that is wrong is told."""

import pytest
from relay.lists import NAMES, BadList, Lists


def test_entries_comments_case_and_byte_order_mark(tmp_path):
    file = tmp_path / "links.txt"
    file.write_bytes("\ufeffBad.example  # seen in May\n\n# nothing\n  https://ok.example/Bad \n".encode())
    lists = Lists({"links": [file]})
    assert lists.holds("links", "bad.example") and lists.holds("links", "https://ok.example/bad")
    assert not lists.holds("links", "seen in may") and not lists.holds("links", "")


def test_a_domain_covers_what_is_below_it(tmp_path):
    (tmp_path / "a").write_text("bad.example\n")
    lists = Lists({"links": [tmp_path / "a"]})
    assert lists.covers("links", "www.bad.example") == "bad.example"
    assert lists.covers("links", "notbad.example") == "" == lists.covers("links", "")


def test_an_entry_is_taken_away_by_the_operator(tmp_path):
    (tmp_path / "a").write_text("one.example\ntwo.example\n")
    (tmp_path / "b").write_text("!one.example\n")
    assert Lists({"links": [tmp_path / "a", tmp_path / "b"]}).entries("links") == ("two.example",)


def test_a_reload_that_fails_changes_nothing(tmp_path):
    file = tmp_path / "a"
    file.write_text("one.example\n")
    lists = Lists({"links": [file]})
    version = lists.version
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BadList, match="not UTF-8 at octet 0"):
        lists.reload({"links": [file]})
    assert lists.entries("links") == ("one.example",) and lists.version == version
    file.write_text("two.example\n")
    lists.reload({"links": [file]})
    assert lists.entries("links") == ("two.example",) and lists.version > version


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadList, match=r"gone\.txt: No such file"):
        Lists({"links": [tmp_path / "gone.txt"]})


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_list_can_be_read(name):
    entries = Lists().entries(name)
    assert all(entry == entry.strip().lower() and not entry.startswith("!") for entry in entries)


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("personal-domains", "https://example.com", "needs a domain"),
        ("personal-domains", "*.example.com", "needs a domain"),
        ("business-domains", "@example.com", "needs a domain"),
        ("shorteners", "a.example b.example", "one entry a line"),
        ("role-names", "info@example.com", "before the @"),
        ("attachments", "da39a3ee5e6b4b0d3255bfef95601890afd80709", "needs a SHA-256"),
        ("brands", "example bank", "a colon"),
        ("links", "bad.example /path", "one entry a line"),
        ("links", "!", "nothing stands"),
        ("links", "*.bad.example", "a domain or a URL"),
        ("links", "bad.example:8080", "a domain or a URL"),
        ("links", "hxxp://bad[.]example/", "a domain or a URL"),
        ("links", "ann@bad.example", "a domain or a URL"),
    ],
)
def test_an_entry_that_could_never_be_found_is_told_with_its_line(tmp_path, name, line, says):
    (tmp_path / "a").write_text(f"# mine\n\n{line}\n")
    with pytest.raises(BadList, match=rf"a:3: .*{says}"):
        Lists({name: [tmp_path / "a"]})


def test_entries_are_taken_as_people_have_them(tmp_path):
    (tmp_path / "domains").write_text("B\u00fccher.example\n")
    (tmp_path / "links").write_text(
        "b\u00fccher.example\nhttps://bad.example/\nworse.example.\nhttps://m\u00fcller.example/x\n[2001:db8::1]\n"
    )
    (tmp_path / "digests").write_text(f"{'AB' * 32}  leads.csv\n")
    (tmp_path / "brands").write_text("!Adobe\n")
    lists = Lists(
        {
            "personal-domains": [tmp_path / "domains"],
            "links": [tmp_path / "links"],
            "attachments": [tmp_path / "digests"],
            "brands": [tmp_path / "brands"],
        }
    )
    assert lists.covers("personal-domains", "mail.xn--bcher-kva.example")
    for host in ("www.xn--bcher-kva.example", "www.bad.example", "worse.example", "[2001:db8::1]"):
        assert lists.covers("links", host)
    assert lists.holds("links", "https://xn--mller-kva.example/x")
    assert lists.holds("attachments", "ab" * 32)
    brands = lists.entries("brands")
    assert len(brands) > 10 and not any(brand.startswith("adobe:") for brand in brands)
