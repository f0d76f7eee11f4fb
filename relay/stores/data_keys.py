"""The data keys of tenants: what message copies, held bodies and evidence are sealed with.

A key lies in the store, wrapped by master.key and by a small secret of its own in the folder `tenants` of
the keys folder (tenants/ID.NUMBER.key, made with the key).  Dropping the row makes all that was sealed
unreadable here, at once; dropping the file does so in every backup of the store as well, since backups
hold no keys.  Where the folder cannot be written, master.key alone wraps it.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from relay.keys import sync_folder
from relay.sealed import KEY, DataKey, Master, Unsealable

LATELY = 1.0
"""Seconds for which nobody asks whether a key that something is sealed with has been dropped."""
TENANTS = "tenants"
"""The folder in the keys folder."""
_CACHED = 1000
_OWN = b"\1"
"""Before what a secret of its own wraps too: then 8 octets that name its file."""
_SEALED = b"\1"
"""Before sealed evidence: then the number of the data key (8 octets).  Plain JSON begins with a brace."""
Ask = Callable[[str, Sequence[Any]], list[Any]]
ROW = "SELECT tenant, wrapped FROM data_key WHERE number = ?"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")


class DataKeys:
    """The tenants' keys, made when they are first needed.

    master  the master key; called when it is first needed, raises Unsealable if it cannot be had
    folder  of the tenants' own secrets, None for none
    """

    def __init__(
        self,
        master: Callable[[], Master],
        folder: Path | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._made = master
        self._folder = folder
        self._random = random
        self._master: Master | None = None
        self._key = b""
        self._kept: dict[int, DataKey] = {}
        self._lately: dict[str, tuple[float, int, DataKey]] = {}

    @classmethod
    def with_key(cls, key: bytes, random: Callable[[int], bytes] = os.urandom, folder: Path | None = None) -> DataKeys:
        """key: of master.key, 32 octets"""
        self = cls(lambda: Master(key, random), folder, random)
        self._key = key
        return self

    def of(self, key: bytes) -> bool:
        """Whether these are wrapped by this master key."""
        return self._key == key

    def newest(self, db: sqlite3.Connection, tenant: str, now: float) -> tuple[int, DataKey]:
        """Inside a transaction: the key to seal with.  Where none of the tenant's can be had (wrapped by another
        master.key, or its own secret is gone) there is a new one from now on: mail does not wait for that."""
        lately = self._lately.get(tenant)
        if lately is not None and abs(now - lately[0]) < LATELY:
            return lately[1:]
        for number, wrapped in db.execute(
            "SELECT number, wrapped FROM data_key WHERE tenant = ? ORDER BY number DESC LIMIT 5", (tenant,)
        ).fetchall():
            try:
                key = self._unwrapped(number, tenant, wrapped)
            except Unsealable:
                continue
            if len(self._lately) >= _CACHED:
                self._lately.clear()
            self._lately[tenant] = now, number, key
            return number, key
        name, secret = self._new_secret(tenant)
        key, wrapped = self._the_master().make(tenant, secret)
        if secret:
            wrapped = _OWN + name + wrapped
        number = db.execute(
            "INSERT INTO data_key (tenant, wrapped, created) VALUES (?, ?, ?)", (tenant, wrapped, now)
        ).lastrowid
        assert number is not None
        return number, key  # kept only when it is read again: this transaction may come to nothing

    def get(self, db: sqlite3.Connection, number: int) -> DataKey:
        """Raises Unsealable: it was dropped, or wrapped by another master.key."""
        return self.found(number, db.execute(ROW, (number,)).fetchall())

    def found(self, number: int, rows: Sequence[tuple[str, bytes]]) -> DataKey:
        """`get` for who has asked ROW.  Raises Unsealable."""
        if not rows:
            self._kept.pop(number, None)
            raise Unsealable("its key has been dropped")
        return self._unwrapped(number, *rows[0])

    def _unwrapped(self, number: int, tenant: str, wrapped: bytes) -> DataKey:
        key = self._kept.get(number)
        if key is None:
            secret = b""
            if len(wrapped) > 60 and wrapped[:1] == _OWN:
                secret, wrapped = self._secret(tenant, wrapped[1:9]), wrapped[9:]
            key = self._the_master().unwrap(tenant, wrapped, secret)
            if len(self._kept) >= _CACHED:
                self._kept.clear()
            self._kept[number] = key
        return key

    def _the_master(self) -> Master:
        if self._master is None:
            self._master = self._made()
        return self._master

    # -- the secret of its own ---------------------------------------------------------
    def _new_secret(self, tenant: str) -> tuple[bytes, bytes]:
        """Name and value, durable; empty where the folder cannot be written."""
        if self._folder is None:
            return b"", b""
        name, secret = self._random(8), self._random(KEY)
        path = self._path(tenant, name)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secret)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self._folder)
        except OSError:
            return b"", b""
        return name, secret

    def _secret(self, tenant: str, name: bytes) -> bytes:
        if self._folder is None:
            raise Unsealable("its key needs the keys folder, which was not opened")
        path = self._path(tenant, name)
        try:
            secret = path.read_bytes()
        except OSError as error:
            raise Unsealable(f"its key needs {path}: {error.strerror}") from None
        if len(secret) != KEY:
            raise Unsealable(f"its key needs {path}, which holds {len(secret)} octets instead of {KEY}")
        return secret

    def _path(self, tenant: str, name: bytes) -> Path:
        assert self._folder is not None
        return self._folder / f"{_file(tenant)}.{name.hex()}.key"

    def drop_secrets(self, tenant: str) -> list[Path]:
        """Delete the tenant's secrets, overwritten first; which files went.  Raises OSError."""
        if self._folder is None or not self._folder.is_dir():
            return []
        wanted = re.compile(re.escape(_file(tenant)) + r"\.[0-9a-f]{16}\.key\Z")
        gone = [path for path in sorted(self._folder.iterdir()) if wanted.match(path.name)]
        for path in gone:
            with path.open("r+b") as file:
                file.write(bytes(KEY))
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
        if gone:
            sync_folder(self._folder)
        self._kept.clear()
        self._lately.clear()
        return gone

    # -- evidence ----------------------------------------------------------------------
    def open_evidence(self, stored: bytes, id: int, ask: Ask) -> bytes:
        """ask: rows of a statement and its values.  Raises Unsealable."""
        if not is_sealed(stored):
            return stored  # of a version that did not seal it
        number = int.from_bytes(stored[1:9], "big")
        return self.found(number, ask(ROW, (number,))).open_with(stored[9:], _belongs(id))


def is_sealed(evidence: bytes) -> bool:
    return evidence[:1] == _SEALED


def seal_evidence(evidence: bytes, id: int, number: int, key: DataKey, nonce: bytes) -> bytes:
    """Evidence as it stands in the row of this decision.  number, key: of `DataKeys.newest`; nonce: 12 random octets"""
    return _SEALED + number.to_bytes(8, "big") + key.seal_with(nonce, evidence, _belongs(id))


def _belongs(id: int) -> bytes:
    return b"decision_personal.evidence " + id.to_bytes(8, "big")


def _file(tenant: str) -> str:
    """The tenant's id as a part of a file's name; of one that could be no name, a digest of it."""
    return tenant if _NAME.match(tenant) else "x-" + hashlib.sha256(tenant.encode("utf-8", "surrogatepass")).hexdigest()
