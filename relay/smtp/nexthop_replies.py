"""What the next hop says: its octets read into replies, and replies turned into what our client is told.

No I/O here.  Two rules hold throughout.  Framing is strict and text is lenient: a reply whose lines
cannot be told apart for certain ends the connection, while odd octets inside a line are only cleaned.
And what concerns us (how we reach the next hop, who we are to it) never reaches a client as its own
or its recipient's fault: that is always a 451.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from relay import replies
from relay.address import Address
from relay.replies import Reply

LINE = 2048
"""Octets of a reply line, CRLF not counted.  RFC 5321 section 4.5.3.1.5 allows 510; real ones get longer."""
LINES = 256
"""Lines of one reply.  The longest honest one is an answer to EHLO."""

OURS = frozenset({421, 500, 501, 502, 503, 504, 530, 535, 538, 555})
"""Codes that are about this relay as a client, at whatever step: never the tenant's or the recipient's fault."""

_CODES = {b"%d" % code: code for code in range(200, 600)}


_known: dict[bytes, tuple[Said, ...]] = {}
"""Whole answers to pipelined commands, as octets and as replies; bounded, and nothing depends on it."""


class Said:
    """One reply: the code, and the text of each line as it came (octets after the code and its separator)."""

    __slots__ = ("code", "lines")

    def __init__(self, code: int, lines: Sequence[bytes]) -> None:
        self.code = code
        self.lines = lines

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Said) and (self.code, list(self.lines)) == (other.code, list(other.lines))

    __hash__ = None  # type: ignore[assignment]  # a value compared in tests, never a key

    def __repr__(self) -> str:
        return f"Said({self.raw!r})"

    @property
    def raw(self) -> str:
        """Code and words as they came, for the ledger: one line, bounded, nothing that moves a cursor."""
        text = b" / ".join(self.lines)[:1000].decode("utf-8", "backslashreplace")
        if not text.isprintable():
            text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
        return f"{self.code} {text}"


class ReplyReader:
    """Octets in, replies out (RFC 5321 section 4.2).  However the octets are cut, the result is the same.

    fault    "" or why nothing more can be read: not a reply, two codes in one reply, a bare LF, too long.
             Replies that were complete before the fault have been given out.
    """

    __slots__ = ("_code", "_lines", "_rest", "fault")

    def __init__(self) -> None:
        self.fault = ""
        self._rest = b""
        self._lines: list[bytes] = []
        self._code = 0

    @property
    def pending(self) -> bool:
        """A reply has begun and not ended."""
        return bool(self._rest or self._lines)

    def feed(self, data: bytes) -> Sequence[Said]:
        if self._rest:
            data = self._rest + data
        elif not self._lines and not self.fault:
            # The short cuts, which change nothing but the time it takes: what has been read before
            # (the answers to MAIL, RCPT and DATA are the same for every message), and a single line.
            known = _known.get(data)
            if known is not None:
                return known
            if data[3:4] == b" " and data[-2:] == b"\r\n" and data.find(b"\n") == len(data) - 1 < LINE:
                code = _CODES.get(data[:3])
                if code is not None:
                    return (Said(code, (data[4:-2],)),)
            said = self._read(data)
            if len(said) > 1 and len(data) < 256 and not self.pending and not self.fault:
                if len(_known) >= 256:
                    _known.clear()
                _known[data] = tuple(said)
            return said
        return self._read(data)

    def _read(self, data: bytes) -> list[Said]:
        said: list[Said] = []
        if self.fault:
            return said
        lines = data.split(b"\r\n")
        self._rest = rest = lines.pop()
        for line in lines:
            code = _CODES.get(line[:3])
            mark = line[3:4]
            # A bare LF is no line end (RFC 5321 section 2.3.8): two readers could see two replies
            # where we see one, so nothing after it can be trusted.
            if code is None or mark not in b" -" or b"\n" in line:
                self.fault = "not a reply"
                return said
            if len(line) > LINE:
                self.fault = "a line too long"
                return said
            if self._lines:
                if code != self._code:
                    self.fault = "two codes in one reply"
                    return said
                self._lines.append(line[4:])
                if mark != b"-":
                    said.append(Said(code, self._lines))
                    self._lines = []
                elif len(self._lines) >= LINES:
                    self.fault = "too many lines"
                    return said
            elif mark == b"-":
                self._code = code
                self._lines.append(line[4:])
            else:
                said.append(Said(code, (line[4:],)))
        if rest:
            if b"\n" in rest:
                self.fault = "not a reply"
            elif len(rest) > LINE + 1:  # the CR of its end may be here already
                self.fault = "a line too long"
        return said


@dataclass(frozen=True, slots=True)
class Extensions:
    """What an EHLO said (RFC 5321 section 4.1.1.1).

    size  None: no SIZE; 0: SIZE without a limit; else the limit in octets (RFC 1870)
    auth  mechanisms, upper case
    """

    pipelining: bool = False
    size: int | None = None
    eight_bit: bool = False
    smtputf8: bool = False
    dsn: bool = False
    starttls: bool = False
    auth: frozenset[str] = frozenset()
    chunking: bool = False

    @classmethod
    def of(cls, said: Said) -> Extensions:
        found: dict[str, str] = {}
        auth: set[str] = set()
        for line in said.lines[1:]:
            keyword, _, rest = line.decode("ascii", "replace").strip().partition(" ")
            keyword = keyword.upper()
            if keyword.startswith("AUTH="):  # an old spelling, still sent beside the right one
                rest = f"{keyword[5:]} {rest}"
                keyword = "AUTH"
            if keyword == "AUTH":
                auth.update(rest.upper().split())
            found[keyword] = rest.strip()
        limit = found.get("SIZE")
        size = None if limit is None else int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 19 else 0
        return cls(
            pipelining="PIPELINING" in found,
            chunking="CHUNKING" in found,
            size=size,
            eight_bit="8BITMIME" in found,
            smtputf8="SMTPUTF8" in found,
            dsn="DSN" in found,
            starttls="STARTTLS" in found,
            auth=frozenset(auth),
        )


# -- the words ------------------------------------------------------------------------
_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?:\s+|$)")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_SPACES = re.compile(r" {2,}")
_MAILBOX = re.compile(
    r"""<?(?:"[^"]{0,80}"|[^\s<>"(),:;=\[\]]{1,80})"""  # local part, quoted or not
    r"""@(?:\[[^\]\s]{0,60}\]|[^\s<>"(),:;\[\]]{1,260})>?"""  # literal or name
)


def words(said: Said, address: Address | None = None) -> tuple[tuple[int, int] | None, str]:
    """((subject, detail) of the enhanced code or None, the text): one line of printable ASCII, at most
    `replies.LIMIT` octets, every address in it replaced.

    address  the recipient it was said of: its local part alone is a person's name too
    """
    enhanced = None
    texts = []
    for line in said.lines:
        text = line.decode("utf-8", "replace").strip()
        if found := _ENHANCED.match(text):
            text = text[found.end() :]
            if enhanced is None:
                enhanced = int(found[2]), int(found[3])
        texts.append(text)
    # Cut first: what follows costs time in proportion, and 64 KiB of reply end up as 300 octets anyway.
    text = _printable(" ".join(texts)[: 4 * replies.LIMIT])
    if address is not None:
        text = _without(text, address)
    if "@" in text:
        text = _MAILBOX.sub("recipient", text)
    return enhanced, text[: replies.LIMIT].strip()


def _printable(text: str) -> str:
    return _SPACES.sub(" ", _UNPRINTABLE.sub("?", text)).strip()


def _without(text: str, address: Address) -> str:
    """No regular expression made of the address: a thousand refused recipients would mean a thousand of them."""
    for name in (address.text, f"{address.local}@{address.domain}", address.local.strip('"')):
        name = _printable(name).lower()
        if len(name) < 3:  # as a word of its own it says nothing of anybody
            continue
        at = 0
        while (at := text.lower().find(name, at)) >= 0:
            end = at + len(name)
            if text[at - 1 : at].isalnum() or text[end : end + 1].isalnum():
                at = end
                continue
            if text[at - 1 : at] == "<" and text[end : end + 1] == ">":
                at, end = at - 1, end + 1
            text = f"{text[:at]}recipient{text[end:]}"
            at += 9
    return text


# What a code says without an enhanced one (RFC 3463 section 3, RFC 5248); (0, 0) is "other".
# 550 at RCPT is left as vague as it is: "no such user" and "not from you" are both 550.
_AT_RECIPIENT = {
    450: (2, 0), 451: (3, 0), 452: (5, 3), 455: (5, 4),
    550: (1, 0), 551: (1, 6), 552: (2, 2), 553: (1, 3), 556: (1, 10),
}  # fmt: skip
_AFTER_DATA = {450: (2, 0), 451: (3, 0), 452: (3, 1), 552: (3, 4)}


def _passed_on(said: Said, filled: dict[int, tuple[int, int]], address: Address | None) -> Reply:
    """The code kept, one line, an enhanced code of its class; `Reply` derives the class from the code."""
    enhanced, text = words(said, address)
    subject, detail = enhanced or filled.get(said.code, (0, 0))
    return Reply(said.code, subject, detail, text or "Refused by the next hop")


# -- step by step ------------------------------------------------------------------------
def at_mail(said: Said) -> tuple[Reply, str]:
    """(reply, check) for a MAIL answered 4yz or 5yz, none of OURS."""
    if said.code < 500:
        return replies.NEXT_HOP_SENDER_LATER, "next-hop-sender"
    enhanced, _ = words(said)
    if said.code == 552 or enhanced == (3, 4):
        return replies.NEXT_HOP_TOO_BIG, "next-hop"
    if enhanced == (6, 7):
        return replies.NEXT_HOP_UTF8, "next-hop"
    return replies.NEXT_HOP_SENDER, "next-hop-sender"


def at_recipient(said: Said, address: Address) -> Reply:
    """For a RCPT answered 4yz or 5yz, none of OURS: it concerns the recipient, so it passes through."""
    return _passed_on(said, _AT_RECIPIENT, address)


def denies(reply: Reply) -> bool:
    """55x x.7.1: not allowed.  Of one recipient that is the recipient's business; of everybody it is ours."""
    return 550 <= reply.code <= 559 and (reply.subject, reply.detail) == (7, 1)


def after_data(said: Said) -> tuple[Reply, str]:
    """(reply, check) for DATA or the final dot answered 4yz or 5yz, none of OURS.

    Some senders take a 55x x.7.1 as a word on the addressee and never mail it again; here it is about
    the message.
    """
    reply = _passed_on(said, _AFTER_DATA, None)
    return (replies.NEXT_HOP_CONTENT if denies(reply) else reply), "next-hop-content"


def accepted(said: Said) -> Reply:
    """The 250 after the final dot with the next hop's own words, among them its queue id."""
    if len(said.lines) == 1:
        # The common case without a regular expression: "2.0.0 Ok: queued as 4bX1Yz".
        line = said.lines[0]
        if b"@" not in line and len(line) < 200:
            text = line.decode("ascii", "replace")
            if text[:6] == "2.0.0 " and len(text) > 6 and text.isprintable() and text.isascii():
                return Reply(250, 0, 0, text[6:])
    return Reply(250, 0, 0, words(said)[1] or replies.SENT.text)


def most_hopeful(refused: Iterable[Reply]) -> Reply:
    """Of several refusals the one that leaves most to hope for: the first 4yz, else the first."""
    hopeful: Reply | None = None
    for reply in refused:
        if reply.temporary:
            return reply
        hopeful = hopeful or reply
    assert hopeful is not None
    return hopeful
