"""The keys folder: what must never lie in the store it protects.

    ledger.key    32 octets; chains the decisions
    address.key   32 octets; keyed hashes of people who were erased
    master.key    32 octets; wraps the data keys of message copies
    signing.key   Ed25519 (PKCS #8 PEM); signs checkpoints and exports
    tokens.key    one or more of 32 octets, the newest first; from each are derived the keys of unsubscribe
                  links and of other tokens in mail.  What was made with an old one stays readable for ever

Made at the first start, files 0600 in a folder 0700.  A key that is lost or was swapped would
read the store's rows as nonsense and go on: the chain would look broken and erased people would
be mailed again.  So the store keeps a canary row for each key (relay/stores/canary.py), and a
folder that does not fit is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRETS = ("ledger", "address", "master")
SIZE = 32
TOKENS = "tokens"


class KeysError(Exception):
    """The keys cannot be used; the text says which, why and what to do."""


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """`ledger`, `address` and `master` are 32 octets each, and each of `tokens`."""

    folder: Path
    ledger: bytes
    address: bytes
    master: bytes
    signing: Ed25519PrivateKey
    tokens: tuple[bytes, ...] = ()

    @classmethod
    def open(cls, folder: Path, create: bool, *, tokens: bool = False) -> Keys:
        """Read the folder.  `create`: make it, and each key that is not there.  Raises KeysError.

        tokens  make tokens.key in any case: folders of earlier versions have none.  Where it is not there,
                the keys have no `tokens`; whether the store had any, its canary rows say
        Two processes that create at once end with the same keys: the first file stays.
        """
        try:
            if create:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            elif not folder.is_dir():
                raise KeysError(
                    f"{folder}: the keys folder is missing, and the store has rows made with its keys; put it back"
                )
            _private(folder, "folder", 0o700)
            secrets = {name: _secret(folder / f"{name}.key", create) for name in SECRETS}
            signing = _signing(folder / "signing.key", create)
            kept = _tokens(folder, create or tokens)
        except OSError as error:
            raise KeysError(f"{error.filename or folder}: {error.strerror}") from error
        return cls(folder, secrets["ledger"], secrets["address"], secrets["master"], signing, kept)

    def __repr__(self) -> str:
        return f"Keys({self.folder})"  # a key must not end in a log

    @property
    def public(self) -> bytes:
        """The verifying half of `signing`, 32 octets."""
        return self.signing.public_key().public_bytes_raw()

    def marks(self) -> dict[str, bytes]:
        """What the canary rows hold: per key a hash that shows it was this one, and tells nothing else."""
        marks = {name: _mark(getattr(self, name), name) for name in SECRETS}
        marks["signing"] = _mark(self.public, "signing")
        # A row for each, under a name of its own: not one of them may ever be lost.
        for key in self.tokens:
            mark = _mark(key, TOKENS)
            marks[f"{TOKENS}-{mark[:4].hex()}"] = mark
        return marks

    def rotate(self) -> Keys:
        """These keys with a new one for tokens in front, durable in the folder.  Raises KeysError.

        Running processes go on with what they have; each reads the file again when it is told to.  Two that rotate
        at once go one after the other, so that neither new key is lost: links may have been made with it already.
        """
        path = self.folder / f"{TOKENS}.key"
        try:
            with _alone(self.folder):
                kept = _tokens(self.folder, False)
                if not set(self.tokens) <= set(kept):
                    raise KeysError(f"{path}: lacks a key that links were made with; put the right file back")
                value = os.urandom(SIZE) + b"".join(kept)
                _replace(path, value)
        except OSError as error:
            raise KeysError(f"{error.filename or path}: {error.strerror}") from error
        return replace(self, tokens=_split(value))


class TokenFile:
    """tokens.key of a process that runs on while a command rotates it."""

    def __init__(self, keys: Keys) -> None:
        self._path = keys.folder / f"{TOKENS}.key"
        self._folder = keys.folder
        self._keys = keys.tokens
        # Not what the file is now: it may have been rotated since the keys were read.
        self._seen: tuple[int, int, int] | None = None

    def renewed(self) -> tuple[bytes, ...] | None:
        """The keys, if others stand in the file than when this was asked last; None if not, or if it cannot be
        read or lacks one that is known.  Costs a few microseconds."""
        state = self._state()
        if state is None or state == self._seen:
            return None
        try:
            keys = _tokens(self._folder, False)
        except (OSError, KeysError):
            return None
        self._seen = state
        if keys == self._keys or not set(self._keys) <= set(keys):
            return None
        self._keys = keys
        return keys

    def _state(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def _mark(key: bytes, name: str) -> bytes:
    return hashlib.blake2b(b"aup-relay canary: " + name.encode(), key=key, digest_size=16).digest()


def _secret(path: Path, create: bool) -> bytes:
    value = _read(path, create, lambda: os.urandom(SIZE))
    if len(value) != SIZE:
        raise KeysError(f"{path}: holds {len(value)} octets instead of {SIZE}; put the right file back")
    return value


def _tokens(folder: Path, create: bool) -> tuple[bytes, ...]:
    """() if there is no such file, and none is to be made."""
    path = folder / f"{TOKENS}.key"
    if not create and not path.exists():
        return ()
    value = _read(path, create, lambda: os.urandom(SIZE))
    if not value or len(value) % SIZE:
        raise KeysError(f"{path}: holds {len(value)} octets, which is no number of keys; put the right file back")
    return _split(value)


def _split(value: bytes) -> tuple[bytes, ...]:
    return tuple(value[at : at + SIZE] for at in range(0, len(value), SIZE))


def _signing(path: Path, create: bool) -> Ed25519PrivateKey:
    def make() -> bytes:
        return Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    try:
        key = serialization.load_pem_private_key(_read(path, create, make), password=None)
    except (ValueError, TypeError) as error:
        raise KeysError(f"{path}: not an unencrypted private key in PEM form; put the right file back") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeysError(f"{path}: not an Ed25519 key; put the right file back")
    return key


def _read(path: Path, create: bool, make: Callable[[], bytes]) -> bytes:
    if create and not path.exists():
        _write_once(path, make())
    try:
        value = path.read_bytes()
    except FileNotFoundError:
        raise KeysError(f"{path}: missing, and the store has rows made with it; put it back") from None
    _private(path, "file", 0o600)
    return value


def _write_once(path: Path, value: bytes) -> None:
    """Whole or not at all, durable, and never over one that is there."""
    temporary = _written(path, value)
    try:
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass  # another process was first; its key is the key
    finally:
        temporary.unlink()
    sync_folder(path.parent)


def _replace(path: Path, value: bytes) -> None:
    """Whole or not at all, durable, over the one that is there, and whose that was: root may do it for the relay."""
    was, temporary = path.stat(), _written(path, value)
    try:
        if (was.st_uid, was.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(temporary, was.st_uid, was.st_gid)
        temporary.replace(path)
    except OSError:
        temporary.unlink()
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process, and one thread, at a time."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _written(path: Path, value: bytes) -> Path:
    """A file beside it that holds the value, on the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink()
        raise
    return temporary


def sync_folder(folder: Path) -> None:
    """A name that was made or taken away in it outlives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _private(path: Path, kind: str, mode: int) -> None:
    found = stat.S_IMODE(path.stat().st_mode)
    if found & 0o077:
        raise KeysError(f"{path}: this {kind} is open to others ({found:04o}); chmod {mode:o} {path}")
