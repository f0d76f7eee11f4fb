"""Logging in: passwords against argon2id, off the loop, and no faster for a guesser than for anybody.

* A user who does not exist costs the same hashing and gets the same answer.
* Failures are counted per client address and per user, over all workers (login-throttle).
* A password that was right is remembered for a while as a keyed hash, for that client address, so
  that a tool which connects for each message does not pay for argon2 each time.  It is tied to the
  address: a guesser elsewhere cannot use the quick answer to get around the throttle.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import argon2
from argon2.low_level import Type, verify_secret

from relay import replies
from relay.model import Credential, Rung
from relay.ports import Directory, Throttle, Unavailable
from relay.replies import Reply
from relay.smtp.proxy import inside

_HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)
"""OWASP's first choice for argon2id: 19 MiB, two passes."""
NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43
"""Verified where there is no such user: the same work, and no password fits it."""


def hash_password(text: str) -> str:
    """`$argon2id$...` of a password.  Takes some 20 ms: not on the loop."""
    return _HASHER.hash(text)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a login went.

    result      ok, refused, throttled, network, terminated, unavailable (as in the event LoginDone)
    credential  whose it was, where it exists; logged in only if `result` is "ok"
    """

    result: str
    reply: Reply
    credential: Credential | None = None


_THROTTLED = Outcome("throttled", replies.LOGIN_THROTTLED)
_UNAVAILABLE = Outcome("unavailable", replies.LOGIN_UNAVAILABLE)
_NOT_UTF8 = ""


class Login:
    """
    failures, window  so many failed logins of one address, or of one user, in so many seconds
    remember, known   seconds and number of right passwords kept
    threads, waiting  argon2 at work at once, and how many more may wait for it
    """

    def __init__(
        self,
        directory: Directory,
        throttle: Throttle,
        *,
        clock: Callable[[], float],
        key: bytes | None = None,
        failures: int = 10,
        window: float = 600.0,
        remember: float = 600.0,
        known: int = 10_000,
        threads: int = 2,
        waiting: int = 100,
    ) -> None:
        self._directory = directory
        self._throttle = throttle
        self._clock = clock
        self._key = key or os.urandom(32)  # of this process alone: a digest is worth nothing elsewhere
        self._failures = failures
        self._window = window
        self._remember = remember
        self._known_max = known
        self._known: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._threads = ThreadPoolExecutor(threads, "argon2")
        self._places = threads + waiting

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def by_network(self, client: str) -> Credential | None:
        """The credential that this address alone is."""
        credential = self._directory.credential_for_network(client)
        return credential if credential and self._tenant_is_open(credential) else None

    async def by_password(self, user: bytes, password: bytes, client: str) -> Outcome:
        """Never raises Unavailable: that is an outcome."""
        try:
            return await self._by_password(user, password, client)
        except Unavailable:
            return _UNAVAILABLE

    async def _by_password(self, user: bytes, password: bytes, client: str) -> Outcome:
        try:
            name = user.decode()
        except UnicodeDecodeError:
            name = _NOT_UTF8
        credential = self._directory.credential(name) if name else None
        digest = self._digest(user, password, client)
        if credential is not None and self._is_known(digest, credential):
            return self._may_log_in(credential, client)

        now = self._clock()
        # Hashed, because a guesser's names can be of any length; without our key, which other workers lack.
        by_client, by_user = f"login:client:{client}", f"login:user:{hashlib.sha256(user).hexdigest()[:32]}"
        for key in (by_client, by_user):
            if await self._throttle.count(key, now, self._window) >= self._failures:
                return _THROTTLED
        if self._places <= 0:
            return _UNAVAILABLE
        hashed = (credential.password_hash if credential else None) or NOBODY
        self._places -= 1
        try:
            right = await asyncio.get_running_loop().run_in_executor(self._threads, _fits, hashed, password)
        finally:
            self._places += 1
        if credential is None or not right:
            for key in (by_client, by_user):
                await self._throttle.hit(key, now, self._window)
            return Outcome("refused", replies.BAD_CREDENTIALS, credential)
        outcome = self._may_log_in(credential, client)
        if outcome.result == "ok":
            self._known[digest] = (now + self._remember, hashed)
            if len(self._known) > self._known_max:
                self._known.popitem(last=False)
        elif outcome.result == "network":
            await self._throttle.hit(by_client, now, self._window)
        return outcome

    def _may_log_in(self, credential: Credential, client: str) -> Outcome:
        # One answer for all of these: who guessed a password must not learn that it was right.
        if credential.networks and not inside(client, credential.networks):
            return Outcome("network", replies.BAD_CREDENTIALS, credential)
        if not self._tenant_is_open(credential):
            return Outcome("terminated", replies.BAD_CREDENTIALS, credential)
        return Outcome("ok", replies.AUTHENTICATED, credential)

    def _tenant_is_open(self, credential: Credential) -> bool:
        tenant = self._directory.tenant(credential.tenant)
        return tenant is not None and tenant.standing.rung is not Rung.TERMINATED

    def _digest(self, user: bytes, password: bytes, client: str) -> bytes:
        text = b"%d:%s%d:%s%s" % (len(user), user, len(password), password, client.encode())
        return hmac.digest(self._key, text, hashlib.sha256)

    def _is_known(self, digest: bytes, credential: Credential) -> bool:
        known = self._known.get(digest)
        if known is None:
            return False
        until, hashed = known
        if until <= self._clock() or hashed != credential.password_hash:  # another password since
            del self._known[digest]
            return False
        return True


def _fits(hashed: str, password: bytes) -> bool:
    try:
        return bool(verify_secret(hashed.encode(), password, Type.ID))
    except argon2.exceptions.VerificationError:
        return False
    except argon2.exceptions.InvalidHash:
        return False
