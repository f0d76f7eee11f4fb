"""`/u/<token>`: where people leave, and where mailbox providers post that they do.

    POST  leaves at once (RFC 8058 section 3.2): no cookie, no login, no redirect, asked again the same
          answer.  Whatever the body says, except where it is the form of our own page with its choices
    GET   shows a page with one button, and changes nothing: programs that look at every link come here too

The page is in the reader's language, says whose mail stops, shows the address masked only, and needs
no script.  A token that is not ours gets one and the same page, whatever is wrong with it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from html import escape
from importlib import resources
from string import Template
from urllib.parse import parse_qs

import yaml
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from relay.ports import Unavailable
from relay.stores.forms import BadEntry
from relay.stores.leave import Scope, Source
from relay.unsubscribe import Leaving

Read = Callable[[str], Leaving | None]
Leave = Callable[[Leaving, Scope, Source, float, float], Awaitable[bool]]
"""leaving, scope, source, when they asked, the time -> whether it was new.  Raises Unavailable."""
Sender = Callable[[str], tuple[str, frozenset[str]]]
"""Tenant's id -> what people know it by ("" if nobody knows any more), and the streams it sends."""

BODY = 8192
"""Octets of a body that are read; nothing that is needed is longer."""
BODY_TIME = 10.0
"""Seconds in which it must be there."""
WRONG = 60
"""Tokens that are not ours, from one network in a minute, before the page is no longer made for it."""
NETWORKS = 10_000
"""Networks that are counted at once."""

_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def routes(read: Read, leave: Leave, sender: Sender, clock: Callable[[], float] = time.time) -> list[Route]:
    wrong = _Wrong(clock)

    async def show(request: Request) -> Response:
        words = _language(request)
        leaving = read(_token(request))
        if leaving is None:
            return _not_ours(request, words, wrong)
        return _page(words, 200, words["title"], _asking(words, leaving, *sender(leaving.tenant)))

    async def act(request: Request) -> Response:
        leaving = read(_token(request))
        if leaving is None:
            return _not_ours(request, _language(request), wrong)
        try:
            form = await _form(request)
        except (TimeoutError, ClientDisconnect):
            return Response("The request was not complete.\n", 408, _headers(), "text/plain")
        ours = form.get("from") == "page"
        scope: Scope = "tenant" if ours and form.get("scope") == "tenant" else "stream"
        words = _language(request, form.get("lang", ""))
        now = clock()
        try:
            await leave(leaving, scope, "page" if ours else "one-click", now, now)
        except Unavailable:
            return _away(words, ours)
        except BadEntry:  # no address of this version's making
            return _not_ours(request, words, wrong)
        if not ours:
            return Response("Unsubscribed.\n", 200, _headers(), "text/plain")
        name, _ = sender(leaving.tenant)
        return _page(words, 200, words["done"], _done(words, leaving, scope, name), choice=False)

    return [Route("/u/{token}", show, methods=["GET"]), Route("/u/{token}", act, methods=["POST"])]


def _token(request: Request) -> str:
    """As it stands in the path, less what clings to a link that was copied out of a text."""
    text = "".join(str(request.path_params["token"])[:2000].split())
    end = len(text)
    while end and text[end - 1] not in _LETTERS:
        end -= 1
    return text[:end]


async def _form(request: Request) -> Mapping[str, str]:
    """The fields of our own page's form; {} for any other body.  Raises TimeoutError, ClientDisconnect."""
    body = b""
    async with asyncio.timeout(BODY_TIME):
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY:
                return {}
    if not request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        return {}
    try:
        fields = parse_qs(body.decode("ascii", "replace"), max_num_fields=20)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}


class _Wrong:
    """How many tokens that are not ours came from each network lately.  Good ones are never counted: providers
    post for millions of people from a few networks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def too_many(self, client: str) -> bool:
        network, now = _network(client), self._clock()
        since, count = self._seen.pop(network, (now, 0))
        if not since <= now < since + 60:
            since, count = now, 0
        self._seen[network] = since, count + 1
        if len(self._seen) > NETWORKS:
            self._seen.popitem(last=False)
        return count >= WRONG


def _network(client: str) -> str:
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return ""
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 56), strict=False))


# -- what is shown ------------------------------------------------------------------------
def _part(name: str) -> str:
    return resources.files("relay.web").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def languages() -> dict[str, dict[str, str]]:
    """Code -> what the page says, in the order of the file."""
    texts: dict[str, dict[str, str]] = yaml.safe_load(_part("unsubscribe.yaml"))
    return {code: {**words, "code": code} for code, words in texts.items()}


@cache
def _style() -> tuple[str, str]:
    """The style sheet, and its digest for the policy that allows nothing else."""
    style = "".join((_part("style.css") + _part("unsubscribe.css")).splitlines())
    return style, base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


@cache
def _headers() -> dict[str, str]:
    policy = ("default-src 'none'", f"style-src 'sha256-{_style()[1]}'", "base-uri 'none'", "form-action 'self'")
    return {
        "Content-Security-Policy": "; ".join([*policy, "frame-ancestors 'none'"]),
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",  # the address of the page is the right to leave
        "X-Content-Type-Options": "nosniff",
        "X-Robots-Tag": "noindex, nofollow",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


def _language(request: Request, chosen: str = "") -> dict[str, str]:
    known = languages()
    for code in (chosen, request.query_params.get("lang", "")):
        if code in known:
            return known[code]
    return known[preferred(request.headers.get("accept-language", ""))]


def preferred(header: str) -> str:
    """The best of Accept-Language (RFC 9110 section 12.5.4) that we speak, else English."""
    known = languages()
    best, weight = "en", 0.0
    for item in header[:500].split(","):
        tag, _, parameter = item.strip().partition(";")
        code = tag.strip().lower().partition("-")[0]
        if code not in known:
            continue
        q = 1.0
        if match := re.fullmatch(r"\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*", parameter, re.IGNORECASE):
            q = min(1.0, float(match[1]))
        if q > weight:
            best, weight = code, q
    return best


def masked(address: str) -> str:
    """Enough for its owner to know it: `jo@mail.example.com` is `j***@m***.com`."""
    local, _, domain = address.rpartition("@")
    if domain.startswith("["):
        return f"{local[:1]}***@[***]"
    return f"{local[:1]}***@{domain[:1]}***.{domain.rpartition('.')[2]}"


def _filled(words: Mapping[str, str], key: str, leaving: Leaving | None = None, name: str = "") -> str:
    """The sentence as HTML.  Names and addresses of others' making stand apart from the text around them."""
    shown = "".join(c if c.isprintable() else " " for c in name)[:100].strip()
    sender = f"<bdi>{escape(shown)}</bdi>" if shown else escape(words["nobody"])
    address = f'<bdi translate="no">{escape(masked(leaving.address))}</bdi>' if leaving else ""
    return escape(words[key], quote=False).replace("{sender}", sender).replace("{address}", address)


def _asking(words: Mapping[str, str], leaving: Leaving, name: str, streams: frozenset[str]) -> str:
    say = partial(_filled, words, leaving=leaving, name=name)
    parts = [f"<h1>{say('ask')}</h1>"]
    several = len(streams | {leaving.stream}) > 1
    address = f'<bdi translate="no">{escape(masked(leaving.address))}</bdi>'
    parts.append(f"<p>{address if several else say(leaving.stream)}</p>")
    parts.append('<form method="post">')
    if several:
        choices = [("stream", f"only_{leaving.stream}"), ("tenant", "everything")]
        parts.append(f"<fieldset><legend>{say('choose')}</legend>")
        for n, (value, key) in enumerate(choices):
            checked = " checked" if n == 0 else ""
            parts.append(
                f'<label><input type="radio" name="scope" value="{value}"{checked}><span>{say(key)}</span></label>'
            )
        parts.append("</fieldset>")
    parts.append('<input type="hidden" name="from" value="page">')
    parts.append(f'<input type="hidden" name="lang" value="{escape(words["code"])}">')
    parts.append(f'<button type="submit">{say("button")}</button></form>')
    parts.append(f'<p class="note">{say("at_once")}</p>')
    return "\n".join(parts)


def _done(words: Mapping[str, str], leaving: Leaving, scope: Scope, name: str) -> str:
    say = partial(_filled, words, leaving=leaving, name=name)
    what = say("all" if scope == "tenant" else leaving.stream)
    return "\n".join(
        [
            f'<h1 role="status">{say("done")}</h1>',
            f"<p>{what}</p>",
            f"<p>{say('at_once')}</p>",
            f'<p class="note">{say("again")}</p>',
        ]
    )


def _not_ours(request: Request, words: Mapping[str, str], wrong: _Wrong) -> Response:
    if wrong.too_many(request.client.host if request.client else ""):
        return Response("Too many links that do not work.\n", 429, {**_headers(), "Retry-After": "60"}, "text/plain")
    body = "\n".join(
        [
            f"<h1>{_filled(words, 'bad')}</h1>",
            f"<p>{_filled(words, 'bad_why')}</p>",
            f"<p>{_filled(words, 'bad_else')}</p>",
        ]
    )
    return _page(words, 404, words["bad"], body)


def _away(words: Mapping[str, str], ours: bool) -> Response:
    again = {"Retry-After": "120"}
    if not ours:
        return Response("Not stored; try again later.\n", 503, {**_headers(), **again}, "text/plain")
    body = f"<h1>{_filled(words, 'away')}</h1>\n<p>{_filled(words, 'away_why')}</p>"
    return _page(words, 503, words["away"], body, again, choice=False)


def _page(
    words: Mapping[str, str],
    status: int,
    title: str,
    body: str,
    more: Mapping[str, str] | None = None,
    *,
    choice: bool = True,
) -> Response:
    """choice: of languages, which leads back to the question and so has no place below an answer"""

    def other(code: str, name: str) -> str:
        current = ' aria-current="true"' if code == words["code"] else ""
        return f'<a href="?lang={code}" lang="{code}" hreflang="{code}"{current}>{escape(name)}</a>'

    others = "\n".join(other(code, its["name"]) for code, its in languages().items())
    text = _template().substitute(
        lang=words["code"],
        title=escape(title),
        style=_style()[0],
        body=body,
        nav=f'<nav aria-label="{escape(words["languages"])}">\n{others}\n</nav>\n' if choice else "",
    )
    return Response(text, status, {**_headers(), "Content-Language": words["code"], **(more or {})}, "text/html")


@cache
def _template() -> Template:
    return Template(_part("page.html"))
