"""The unsubscribe page as mailbox providers, people and link scanners meet it: over a real socket."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from relay.ports import Unavailable
from relay.unsubscribe import Leaving, Unsubscribe
from relay.web import unsubscribe
from relay.web.app import public, serve_http

NOW = 1_795_262_400.0
LINKS = Unsubscribe([b"k" * 32], "https://mail.platform.example")
JO = Leaving("acme", "marketing", "jo.doe@customer.example")
TOKEN = LINKS.token("acme", "marketing", "jo.doe@customer.example")
ONE_CLICK = "List-Unsubscribe=One-Click"
FORM = "application/x-www-form-urlencoded"


class Office:
    """What the page calls, and the page."""

    def __init__(self) -> None:
        self.left: list[tuple[Leaving, str, str, float]] = []
        self.away = False
        self.now = NOW
        self.senders: dict[str, tuple[str, frozenset[str]]] = {"acme": ("Acme Outreach", frozenset({"marketing"}))}
        self.port = 0

    async def leave(self, leaving: Leaving, scope: str, source: str, at: float, now: float) -> bool:
        if self.away:
            raise Unavailable("store: disk I/O error")
        self.left.append((leaving, scope, source, at))
        return True

    async def ask(
        self,
        method: str,
        path: str,
        body: str | bytes | None = None,
        *,
        kind: str = FORM,
        raw: bytes = b"",
        **fields: str,
    ) -> tuple[int, dict[str, str], str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        octets = body.encode() if isinstance(body, str) else body
        head = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close"]
        head += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        if octets is not None:
            head += [f"Content-Type: {kind}", f"Content-Length: {len(octets)}"]
        writer.write("\r\n".join([*head, "", ""]).encode() + (octets or b"") + raw)
        async with asyncio.timeout(20):
            answer = (await reader.read()).decode()
        writer.close()
        top, _, text = answer.partition("\r\n\r\n")
        first, *lines = top.split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        return int(first.split()[1]), headers, text


@pytest.fixture(scope="module")
def served() -> Iterator[Office]:
    """One server for all tests, in a loop of its own: each start and stop takes a quarter of a second."""
    office = Office()

    async def nothing(ref: str) -> None:
        return None

    async def serve() -> None:
        pages = unsubscribe.routes(
            LINKS.read,
            lambda *wish: office.leave(*wish),
            lambda id: office.senders.get(id, ("", frozenset())),
            lambda: office.now,
        )
        stopping.append((asyncio.get_running_loop(), stop := asyncio.Event()))
        listening.set()
        await serve_http(public(nothing, pages), [sock], stop)

    stopping: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    listening = threading.Event()
    sock = socket.create_server(("127.0.0.1", 0))
    office.port = sock.getsockname()[1]
    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert listening.wait(20)
    yield office
    [(loop, stop)] = stopping
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)


@pytest.fixture
def office(served: Office) -> Office:
    """As new; an hour later, so that what an earlier test asked no longer counts."""
    port, now = served.port, served.now + 3600
    served.__init__()  # type: ignore[misc]
    served.port, served.now = port, now
    return served


MULTIPART = '--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n'


class TestOneClick:
    """RFC 8058 section 3.2."""

    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            (ONE_CLICK, FORM),
            (MULTIPART, "multipart/form-data; boundary=b"),
            (ONE_CLICK, "text/plain"),
            ("", FORM),
            (None, FORM),
            ("List-Unsubscribe=one-click&x=1", FORM + "; charset=UTF-8"),
            (b"\xff\xfe\0", FORM),
            ("&".join(["a=b"] * 500), FORM),
            ("scope=tenant", FORM),
            ("x" * 100_000, FORM),
        ],
    )
    async def test_whatever_a_provider_posts_leaves_at_once(self, office: Office, body: Any, kind: str) -> None:
        status, headers, text = await office.ask("POST", f"/u/{TOKEN}", body, kind=kind)
        assert (status, text) == (200, "Unsubscribed.\n")
        assert "location" not in headers and "set-cookie" not in headers
        assert office.left == [(JO, "stream", "one-click", office.now)]

    @pytest.mark.parametrize(
        "before", ["https://mail.platform.example", "http://x", "HTTPS://mail.platform.example:443"]
    )
    async def test_a_target_in_absolute_form_is_taken(self, office: Office, before: str) -> None:
        """RFC 9112 section 3.2.2."""
        assert (await office.ask("POST", f"{before}/u/{TOKEN}?a=b", ONE_CLICK))[::2] == (200, "Unsubscribed.\n")
        assert [leaving for leaving, *_ in office.left] == [JO]
        status, _, text = await office.ask("GET", f"{before}/u/{TOKEN}")
        assert status == 200 and "j***" in text

    @pytest.mark.parametrize(
        "target",
        [
            "https://",
            "https://x",
            "https:///u/{}",
            "ftp://x/u/{}",
            "x/u/{}",
            "/https://x/u/{}",
            "https://x/https://x/u/{}",
        ],
    )
    async def test_what_is_no_target_leads_nowhere(self, office: Office, target: str) -> None:
        assert (await office.ask("POST", target.format(TOKEN), ONE_CLICK))[0] == 404
        assert office.left == []

    async def test_the_same_answer_each_time(self, office: Office) -> None:
        answers = [await office.ask("POST", f"/u/{TOKEN}", ONE_CLICK) for _ in range(3)]
        assert len({(status, text) for status, _, text in answers}) == 1

    async def test_neither_login_nor_cookie_nor_origin_is_looked_at(self, office: Office) -> None:
        status, _, _ = await office.ask(
            "POST", f"/u/{TOKEN}", ONE_CLICK, Origin="https://mail.google.example", Cookie="a=b", User_Agent=""
        )
        assert status == 200 and len(office.left) == 1

    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "PROPFIND"])
    async def test_nothing_but_a_post_acts(self, office: Office, method: str) -> None:
        for path in (f"/u/{TOKEN}", f"/u/{TOKEN}?List-Unsubscribe=One-Click", f"/u/{TOKEN}?from=page&scope=tenant"):
            status, headers, _ = await office.ask(method, path, None)
            assert "location" not in headers and "set-cookie" not in headers
            assert status == (200 if method in ("GET", "HEAD") else 404)
        assert office.left == []

    async def test_while_nothing_can_be_stored_the_provider_is_told_to_come_again(self, office: Office) -> None:
        office.away = True
        status, headers, text = await office.ask("POST", f"/u/{TOKEN}", ONE_CLICK)
        assert status == 503 and headers["retry-after"] == "120"
        assert "disk" not in text

    async def test_a_body_that_breaks_off_is_no_wish(self, office: Office) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", office.port)
        writer.write(f"POST /u/{TOKEN} HTTP/1.1\r\nHost: x\r\nContent-Length: 26\r\n\r\nList-Unsub".encode())
        writer.write_eof()
        async with asyncio.timeout(20):
            await reader.read()
        writer.close()
        assert office.left == []


class TestTokens:
    async def test_every_wrong_token_gets_the_same_page(self, office: Office) -> None:
        forged = ("A" if TOKEN[9] != "A" else "B").join((TOKEN[:9], TOKEN[10:]))
        foreign = Unsubscribe([b"x" * 32]).token("acme", "marketing", "jo.doe@customer.example")
        for method in ("GET", "POST"):
            answers = [
                await office.ask(method, f"/u/{token}", "" if method == "POST" else None)
                for token in (forged, foreign, TOKEN[:-4], "x", "a" * 3000, "%00%ff")
            ]
            assert {status for status, _, _ in answers} == {404}
            assert len({text for _, _, text in answers}) == 1
        assert office.left == []

    async def test_what_clings_to_a_copied_link_does_no_harm(self, office: Office) -> None:
        for link in (
            TOKEN + ">",
            TOKEN + ".",
            TOKEN + "%29",
            TOKEN[:30] + "%0A%20" + TOKEN[30:],
            TOKEN + "?utm_source=x",
        ):
            assert (await office.ask("GET", f"/u/{link}"))[0] == 200, link

    async def test_guessing_is_bounded_and_good_links_work_on(self, office: Office) -> None:
        statuses = [(await office.ask("GET", f"/u/{'x' * 40}{n}u"))[0] for n in range(unsubscribe.WRONG + 3)]
        assert statuses == [404] * unsubscribe.WRONG + [429] * 3
        assert (await office.ask("GET", f"/u/{TOKEN}"))[0] == 200
        assert (await office.ask("POST", f"/u/{TOKEN}", ONE_CLICK))[0] == 200
        office.now += 61
        assert (await office.ask("GET", "/u/xxx"))[0] == 404

    def test_networks_are_counted_and_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(unsubscribe, "WRONG", 2)
        monkeypatch.setattr(unsubscribe, "NETWORKS", 3)
        wrong = unsubscribe._Wrong(lambda: NOW)
        asked = [
            wrong.too_many(client) for client in ("192.0.2.1", "192.0.2.77", "192.0.2.9", "198.51.100.1", "2001:db8::1")
        ]
        assert asked == [False, False, True, False, False]
        assert wrong.too_many("2001:db8::2") is False and wrong.too_many("2001:db8:0:ff::1") is True
        for n in range(10):
            assert not wrong.too_many(f"203.0.{n}.1")
        assert len(wrong._seen) == 3
        assert not wrong.too_many("")


class _Outline(HTMLParser):
    """Tags, and the text that is shown."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._style = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


class TestPage:
    async def test_it_says_whose_mail_stops_and_masks_the_address(self, office: Office) -> None:
        status, headers, page = await office.ask("GET", f"/u/{TOKEN}")
        shown = _Outline(page)
        assert status == 200 and headers["content-type"].startswith("text/html")
        assert "Stop mail from Acme Outreach?" in shown.text
        assert "j***@c***.example will get no more newsletters" in shown.text
        assert "jo.doe" not in page and "customer" not in page
        assert [b.get("type") for b in shown.all("button")] == ["submit"]
        assert not shown.all("fieldset"), "nothing to choose"

    async def test_the_button_leaves_and_says_so(self, office: Office) -> None:
        status, headers, page = await office.ask("POST", f"/u/{TOKEN}", "from=page&lang=en")
        assert status == 200 and "set-cookie" not in headers
        assert "You are unsubscribed" in page and "subscribe again with <bdi>Acme Outreach</bdi>" in page
        assert office.left == [(JO, "stream", "page", office.now)]

    async def test_who_sends_several_kinds_of_mail_offers_a_choice(self, office: Office) -> None:
        office.senders["acme"] = ("Acme Outreach", frozenset({"marketing", "transactional"}))
        _, _, page = await office.ask("GET", f"/u/{TOKEN}")
        radios = [i for i in _Outline(page).all("input") if i["type"] == "radio"]
        assert [(i["value"], "checked" in i) for i in radios] == [("stream", True), ("tenant", False)]
        assert len(_Outline(page).all("label")) == 2 and _Outline(page).all("legend")
        _, _, page = await office.ask("POST", f"/u/{TOKEN}", "scope=tenant&from=page&lang=en")
        assert "no more mail from <bdi>Acme Outreach</bdi> at all" in page
        await office.ask("POST", f"/u/{TOKEN}", "scope=everything-else&from=page")
        assert [scope for _, scope, _, _ in office.left] == ["tenant", "stream"]

    async def test_a_tenant_that_has_left_is_left_all_the_same(self, office: Office) -> None:
        office.senders.clear()
        status, _, page = await office.ask("GET", f"/u/{TOKEN}")
        assert status == 200 and "Stop mail from this sender?" in page
        status, _, page = await office.ask("POST", f"/u/{TOKEN}", "from=page")
        assert status == 200 and "You are unsubscribed" in page and office.left

    async def test_a_hostile_name_stays_a_name(self, office: Office) -> None:
        office.senders["acme"] = ("<script>x()</script>\u202e{address} $title &amp;" + "y" * 500, frozenset())
        _, _, page = await office.ask("GET", f"/u/{TOKEN}")
        assert "<script" not in page and "\u202e" not in page and "y" * 101 not in page
        assert "&lt;script&gt;" in page

    async def test_trouble_is_said_in_the_readers_language(self, office: Office) -> None:
        office.away = True
        status, headers, page = await office.ask("POST", f"/u/{TOKEN}", "from=page&lang=de")
        assert status == 503 and headers["retry-after"] == "120" and "Es wurde nichts geändert" in page

    async def test_nothing_but_its_own_style_may_run_and_only_its_own_form_be_sent(self, office: Office) -> None:
        for method, body in (("GET", None), ("POST", "from=page"), ("POST", ONE_CLICK)):
            _, headers, page = await office.ask(method, f"/u/{TOKEN}", body)
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; style-src 'sha256-") and "form-action 'self'" in policy
            assert "unsafe" not in policy and headers["referrer-policy"] == "no-referrer"
            assert headers["cache-control"] == "no-store" and "noindex" in headers["x-robots-tag"]
            assert not re.search(r"<script|javascript:|\son\w+=|src=|style=|https?://", page)

    @pytest.mark.parametrize("code", list(unsubscribe.languages()))
    async def test_every_language_says_everything(self, office: Office, code: str) -> None:
        words = unsubscribe.languages()
        assert set(words[code]) == set(words["en"])
        for key, text in words[code].items():
            assert set(re.findall(r"\{(\w+)\}", text)) == set(re.findall(r"\{(\w+)\}", words["en"][key])), key
        office.senders["acme"] = ("Acme", frozenset({"marketing", "transactional"}))
        for method, body, fields in (
            ("GET", None, {"Accept_Language": f"{code}-XX,zz;q=0.5"}),
            ("POST", f"from=page&lang={code}&scope=tenant", {}),
            ("GET", None, {"Accept_Language": code}),
        ):
            _, headers, page = await office.ask(method, f"/u/{TOKEN}", body, **fields)
            assert headers["content-language"] == code and f'<html lang="{code}">' in page
            shown = _Outline(page)
            assert "{" not in shown.text and len(shown.all("h1")) == 1 and len(shown.all("title")) == 1
        _, headers, page = await office.ask("GET", f"/u/{TOKEN}?lang={code}", Accept_Language="sv")
        assert headers["content-language"] == code
        assert [a["lang"] for a in _Outline(page).all("a") if "aria-current" in a] == [code]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "en"), ("de", "de"), ("de-CH", "de"), ("pt-BR,en;q=0.8", "pt"), ("zh-CN,zh;q=0.9", "en"),
        ("ja, hi;q=0.3, en;q=0.2", "hi"), ("en;q=0.1, FR;q=0.9", "fr"), ("de;q=0, it;q=0.5", "it"),
        ("de;q=banana", "de"), ("*", "en"), (";;;,,,q=", "en"), ("nl;q=1.000;x", "nl"), ("x" * 100_000, "en"),
        ("sv;q=99", "sv"),
    ],
)  # fmt: skip
def test_the_language_that_the_browser_asks_for(header: str, code: str) -> None:
    assert unsubscribe.preferred(header) == code


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("jo@example.com", "j***@e***.com"),
        ("a@mail.example.co.uk", "a***@m***.uk"),
        ('"x y"@example.com', '"***@e***.com'),
        ("jo@[192.0.2.1]", "j***@[***]"),
        ("дом@пример.рф", "д***@п***.рф"),
    ],
)
def test_masked(address: str, shown: str) -> None:
    assert unsubscribe.masked(address) == shown
