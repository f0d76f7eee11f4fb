"""What stands behind MAIL FROM: and RCPT TO: -> values.  Pure.

Paths as RFC 5321 section 4.1.2 has them, less source routes; parameters of RFC 1870 (SIZE), 6152
(BODY), 6531 (SMTPUTF8), 3461 (DSN) and 4954 (AUTH).  DSN values keep their letters' case: ENVID
and ORCPT are somebody else's words and come back in a report.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from relay import replies
from relay.replies import Reply

_PATH = re.compile(rb'<((?>(?:"(?>(?:[^"\\]|\\.)*)"|[^">])*))>')
_ENVID = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2}){1,100}\Z")
_ORCPT = re.compile(r"[A-Za-z0-9-]{1,64};[!-<>-~\u0080-\U0010ffff]{1,500}\Z")
_AUTH = re.compile(r"(?:<>|(?:[!-*,-;?-~]|\+[0-9A-F]{2})+)\Z")


class Refused(Exception):
    """This command is answered with `reply`."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply


@dataclass(slots=True)
class MailParameters:
    size: int | None = None
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""


@dataclass(slots=True)
class RcptParameters:
    notify: str = ""
    orcpt: str = ""


def path(rest: bytes) -> tuple[bytes, bytes]:
    """` <a@b> SIZE=1` -> `a@b`, `SIZE=1`.  Raises Refused: no brackets, a source route, rubbish behind them."""
    rest = rest.lstrip(b" ")
    if b'"' in rest:
        match = _PATH.match(rest)
        end = match.end() - 1 if match else -1
    else:
        end = rest.find(b">") if rest.startswith(b"<") else -1
    if end < 0:
        raise Refused(replies.BAD_SYNTAX)
    address, after = rest[1:end], rest[end + 1 :]
    if address.startswith(b"@") or (after and after[0] != 32):
        raise Refused(replies.BAD_SYNTAX)
    return address, after.strip()


def _words(text: bytes) -> list[tuple[str, str]]:
    """(NAME, value) of each parameter; none twice."""
    try:
        words = text.decode().split(" ")
    except UnicodeDecodeError:
        raise Refused(replies.BAD_SYNTAX) from None
    found = []
    names = set()
    for word in words:
        if word:
            name, equals, value = word.partition("=")
            name = name.upper()
            if name in names or (equals and not value):
                raise Refused(replies.BAD_SYNTAX)
            names.add(name)
            found.append((name, value))
    return found


def mail_parameters(text: bytes) -> MailParameters:
    """Raises Refused: 555 for an unknown parameter, 501 for a wrong value."""
    got = MailParameters()
    for name, value in _words(text):
        good = True
        match name:
            case "SIZE":
                good = value.isascii() and value.isdigit() and len(value) <= 20
                got.size = int(value) if good else None
            case "BODY":
                got.body = value.upper()
                good = got.body in ("7BIT", "8BITMIME")
            case "SMTPUTF8":
                got.smtputf8 = True
                good = not value
            case "RET":
                got.ret = value
                good = value.upper() in ("FULL", "HDRS")
            case "ENVID":
                got.envid = value
                good = _ENVID.match(value) is not None
            case "AUTH":
                # Whoever wrote the message first (RFC 4954 section 5); we speak for nobody but who logged in.
                good = _AUTH.match(value) is not None
            case _:
                raise Refused(replies.BAD_PARAMETER)
        if not good:
            raise Refused(replies.BAD_SYNTAX)
    return got


_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})


def rcpt_parameters(text: bytes) -> RcptParameters:
    """Raises Refused: 555 for an unknown parameter, 501 for a wrong value."""
    got = RcptParameters()
    for name, value in _words(text):
        match name:
            case "NOTIFY":
                wishes = value.upper().split(",")
                if value.upper() != "NEVER" and not _NOTIFY.issuperset(wishes):
                    raise Refused(replies.BAD_SYNTAX)
                got.notify = value
            case "ORCPT":
                if not _ORCPT.match(value):
                    raise Refused(replies.BAD_SYNTAX)
                got.orcpt = value
            case _:
                raise Refused(replies.BAD_PARAMETER)
    return got
