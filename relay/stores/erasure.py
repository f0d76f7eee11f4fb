"""What is forgotten when a person, or a tenant that has left, asks for it: every table of the store has its line.

Of a person nothing stays that says who they are: an address under address.key (a keyed hash) keeps them opted
out.  Of a tenant its data keys go first, which makes copies, held mail and evidence unreadable at once, then
all that names people or the tenant itself; what its recipients said stays, as keyed hashes, and so do the
decisions without their personal fields: the chain verifies.

TABLES says of each table what happens; whoever adds a table adds its line.  A table whose rows need more
than a column to be found has a function in PEOPLE or TENANT.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import idna
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.address import Address, hosts_of, parse
from relay.keys import Keys
from relay.stores import contacts, decisions
from relay.stores.chain import Terms
from relay.stores.consents import Consents
from relay.stores.copies import Copies
from relay.stores.data_keys import DataKeys
from relay.stores.database import Database
from relay.stores.forms import same_mailbox
from relay.stores.recipients import Recipients

SLICE = 500
"""Rows of one transaction: mail is written to the same file."""


class Table(NamedTuple):
    """What erasing does with the rows of a table.

    person  column with one address: rows with the person's go
    text    column of text (JSON, a reply) in which addresses stand: rows that have the person's go
    tenant  column with a tenant's id: the tenant's rows go with it
    code    a function here, or a rule of SQLite's, does more or something else; says what
    """

    person: str = ""
    text: str = ""
    tenant: str = ""
    code: str = ""


_NOBODY = Table()

TABLES: dict[str, Table] = {
    "asked": _NOBODY,
    "canary": _NOBODY,
    "checkpoint": _NOBODY,
    "consent": Table(code="withdrawals stay under a keyed hash"),
    "consent_wording": _NOBODY,  # texts that many have read
    "contact": Table(code="of a person: by keyed hash; of a tenant: by octet of the key"),
    "copy": Table(code="those from or to a person; all of a tenant"),
    "credential": Table(tenant="tenant"),
    "data_key": Table(code="with the tenant, and the files of its secrets"),
    "decision": _NOBODY,
    "decision_pending": _NOBODY,
    "decision_personal": Table(code="by term"),
    "decision_term": Table(code="the terms made of personal fields"),
    "domain": Table(tenant="tenant"),
    "domain_key": Table(tenant="tenant"),
    "domain_look": Table(tenant="tenant"),
    "domain_record": Table(tenant="tenant"),
    "delivered": _NOBODY,
    "feedback": Table(person="recipient", text="diagnostic", tenant="tenant"),
    "feedback_verdict": _NOBODY,
    "footer": Table(tenant="tenant"),
    "guard": Table(text="reply"),
    "hold": Table(code="dropped with its copy"),
    "import_progress": _NOBODY,
    "incident": _NOBODY,  # what the tenant did stays as long as the ledger
    "intent": Table(code="emptied: it still stands for mail in doubt"),
    "ladder": _NOBODY,
    "mark": _NOBODY,
    "mend": _NOBODY,
    "meta": _NOBODY,
    "migration": _NOBODY,
    "notice": Table(code="address and text go, that there was one stays"),
    "opt_out_sync": Table(tenant="tenant"),
    "probe": _NOBODY,
    "quota": _NOBODY,
    "quota_lease": _NOBODY,
    "remembered": Table(text="text"),
    "review_case": _NOBODY,
    "review_exception": _NOBODY,
    "review_vote": _NOBODY,
    "sighting": _NOBODY,  # networks and digests
    "standing": _NOBODY,  # a closed account stays closed
    "standing_history": _NOBODY,
    "suppression": Table(code="stays under a keyed hash"),
    "suppression_removed": Table(code="its value goes"),
    "tenant": Table(tenant="id", code="the contact of a closed account"),
    "throttle": _NOBODY,  # minutes, of tokens days
    "webhook": Table(tenant="tenant"),
    "webhook_delivery": Table(code="with its event"),
    "webhook_event": Table(text="data", tenant="tenant"),
    "writer": _NOBODY,
}
"""Every table, those of parts that an installation may not have included."""

_WITH = {"webhook_event": "DELETE FROM webhook_delivery WHERE event NOT IN (SELECT number FROM webhook_event)"}
"""What goes with rows of a table."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who is forgotten.  spellings: every one that is known of the mailbox, the given one first"""

    spellings: tuple[Address, ...]

    @property
    def address(self) -> Address:
        return self.spellings[0]

    @property
    def texts(self) -> tuple[str, ...]:
        """In lower case, as they may stand in rows."""
        return tuple(dict.fromkeys(t.lower() for a in self.spellings for t in (a.exact, a.text)))

    def named_in(self) -> Callable[[object], bool]:
        """Whether a column (address, words, JSON) names the person, and not somebody whose address ends in theirs."""
        texts = frozenset(self.texts)
        quoted = tuple(text for text in texts if '"' in text)

        def named(value: object) -> bool:
            words = _text_of(value)
            return not texts.isdisjoint(_addresses(words)) or any(text in words for text in quoted)

        return named


_ADDRESS = re.compile(r"[^\s<>()\[\]\",;:@\\]{1,64}@[^\s<>()\[\]\",;:@\\]+")
_BESIDE = re.compile("[=/'`|{}?&!]")
_ENDS = ".'`!?|{}*_"


def _addresses(words: str) -> Iterator[str]:
    """What may be an address in a text, each in every way to read it: `to=jo@example.com.` is `jo@example.com` too."""
    for one in _ADDRESS.findall(words):
        yield one
        local, _, host = one.rpartition("@")
        host = host.rstrip(_ENDS)
        yield f"{local}@{host}"
        if found := _BESIDE.split(local)[-1].lstrip(_ENDS):
            yield f"{found}@{host}"


def _text_of(value: object) -> str:
    """The text of a column in lower case, JSON without its escapes."""
    text = bytes(value).decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
    if text[:1] in ("{", "["):
        try:
            text = "\n".join(_strings(orjson.loads(text)))
        except orjson.JSONDecodeError:
            pass
    return text.lower()


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield name
            yield from _strings(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _strings(inner)


@dataclass(frozen=True, slots=True)
class Erased:
    """gone: what was dropped, and how many; kept: what stays; files: that were deleted, whose copies should be too"""

    gone: Mapping[str, int]
    kept: Mapping[str, int]
    files: tuple[str, ...] = ()


Count = Callable[[int], None]


def _silent(count: int) -> None:
    pass


# -- a person ------------------------------------------------------------------------------
async def person(database: Database, keys: Keys, address: Address) -> Person:
    """With every spelling of the mailbox that is on record.  Raises Unavailable."""
    known = [
        *(await Recipients(database, keys.address).spellings(address)),
        *(await Consents(database, keys.address).spellings(address)),
        *(await _spellings(database, address)),
    ]
    return Person(tuple(dict.fromkeys((address, *map(parse, known)))))


async def _spellings(database: Database, address: Address) -> list[str]:
    """Those in decisions, intents, and the tables whose line says where addresses stand; all of them are read."""
    columns = [("decision_personal", "body"), ("intent", "sender"), ("intent", "recipients")]
    columns += [("notice", "recipient"), ("tenant", "contact")]
    columns += [(name, column) for name, rule in TABLES.items() for column in (rule.person, rule.text) if column]
    hosts = hosts_of(address)
    if "xn--" in address.domain:
        hosts.add(idna.decode(address.domain))

    def look(db: sqlite3.Connection) -> list[str]:
        there = _there(db)
        found: set[str] = set()
        for table, column in columns:
            if table in there:
                for (value,) in db.execute(f'SELECT {column} FROM "{table}" WHERE {column} IS NOT NULL'):
                    words = _text_of(value)
                    if any(host in words for host in hosts):  # to take every address apart would take minutes
                        found.update(same_mailbox(_addresses(words), address))
        return sorted(found)

    return await database.view(look)


async def _suppressions(database: Database, keys: Keys, who: Person, now: float) -> Mapping[str, int]:
    return {"-suppressions": await Recipients(database, keys.address).erase(who.address, now)}


async def _copies(database: Database, keys: Keys, who: Person, now: float) -> Mapping[str, int]:
    """Before the ledger, which knows in which messages they are named."""
    copies = Copies(database, keys.master)
    refs = set(await copies.of_people(who.address))
    for text in who.texts:
        refs.update(await decisions.naming(database, keys.ledger, text))
    return {"copies of messages": await copies.drop(sorted(refs))}


async def _ledger(database: Database, keys: Keys, who: Person, now: float) -> Mapping[str, int]:
    gone = {"decisions": 0, "intents": 0}
    for text in who.texts:
        for what, count in (await decisions.erase(database, keys.ledger, text)).items():
            gone[what] += count
    return gone


async def _consents(database: Database, keys: Keys, who: Person, now: float) -> Mapping[str, int]:
    return {"consents": await Consents(database, keys.address).erase(who.address, now)}


async def _contacts(database: Database, keys: Keys, who: Person, now: float) -> Mapping[str, int]:
    return {"contacts": await contacts.erase(database, keys.address, who.address)}


async def _tables(database: Database, keys: Keys, who: Person, now: float) -> Mapping[str, int]:
    """Those whose line in TABLES says all."""

    def drop(db: sqlite3.Connection) -> dict[str, int]:
        gone: dict[str, int] = {}
        db.create_function("names", 1, who.named_in(), deterministic=True)
        for table in _there(db):
            rule = TABLES.get(table, _NOBODY)
            count = 0
            for column in filter(None, (rule.person, rule.text)):
                count += db.execute(f'DELETE FROM "{table}" WHERE names({column})').rowcount
            if count:
                gone[table.replace("_", " ")] = count
                if table in _WITH:
                    db.execute(_WITH[table])
        db.create_function("names", 1, None)  # it knows the address
        return gone

    return await database.run(drop, full=True)


async def _notices(database: Database, keys: Keys, who: Person, now: float) -> Mapping[str, int]:
    """Those to them, and where a closed account would send more.  What waits is made anew, for whom the account then
    has: nobody but the operator where it is closed.  An open account needs its contact, and keeps it."""

    def drop(db: sqlite3.Connection) -> dict[str, int]:
        db.create_function("names", 1, who.named_in(), deterministic=True)
        gone = {
            "contacts of closed accounts": db.execute(
                "UPDATE tenant SET contact = '' WHERE id IN (SELECT tenant FROM standing WHERE rung = 'terminated')"
                " AND names(contact)"
            ).rowcount,
            "notices": db.execute(
                "UPDATE notice SET message = NULL, recipient = '', reply = ''"
                " WHERE names(recipient) OR names(message) OR names(reply)"
            ).rowcount,
        }
        gone["notices"] += db.execute(
            "UPDATE notice SET message = NULL, recipient = '', reply = '', details = '{}', reason = '',"
            " state = CASE state WHEN 'waiting' THEN 'none' ELSE state END WHERE names(details) OR names(reason)"
        ).rowcount
        db.create_function("names", 1, None)  # it knows the address
        return {what: count for what, count in gone.items() if count}

    return await database.run(drop, full=True)


Eraser = Callable[[Database, Keys, Person, float], Awaitable[Mapping[str, int]]]
PEOPLE: tuple[Eraser, ...] = (_suppressions, _copies, _ledger, _consents, _contacts, _tables, _notices)
"""In this order.  Each says what went and how many; with a minus before it, what stays under a keyed hash."""


async def erase_person(database: Database, keys: Keys, address: Address, now: float) -> Erased:
    """Forget a person everywhere.  Raises Unavailable; then a part is done, and doing it again does the rest."""
    who = await person(database, keys, address)
    gone: dict[str, int] = {}
    kept: dict[str, int] = {}
    for each in PEOPLE:
        for what, count in (await each(database, keys, who, now)).items():
            (kept if what[0] == "-" else gone)[what.lstrip("-")] = count
    return Erased(gone, kept)


# -- a tenant ------------------------------------------------------------------------------
async def known(database: Database, tenant: str) -> bool:
    """Whether anything is stored of a tenant of this name."""

    def look(db: sqlite3.Connection) -> bool:
        there = _there(db)
        for table, column in (("tenant", "id"), ("standing", "tenant"), ("data_key", "tenant")):
            if table in there and db.execute(f"SELECT 1 FROM {table} WHERE {column} = ?", (tenant,)).fetchone():
                return True
        return False

    return await database.view(look)


async def erase_tenant(database: Database, keys: Keys, tenant: str, now: float, progress: Count = _silent) -> Erased:
    """Forget a tenant whose account is closed.  progress: how many rows more are done

    Raises Unavailable, OSError (a file of its keys cannot be deleted); then a part is done, and doing it again
    does the rest.
    """
    gone: dict[str, int] = {}
    data_keys = database.data_keys
    assert isinstance(data_keys, DataKeys)
    gone["data keys"] = (await database.read("SELECT count(*) FROM data_key WHERE tenant = ?", (tenant,)))[0][0]
    gone["copies of messages"] = await Copies(database, keys.master).forget(tenant)
    files = await asyncio.to_thread(data_keys.drop_secrets, tenant)
    gone["decisions"] = await _decisions_of(database, keys, tenant, progress)
    gone["consents"] = await Consents(database, keys.address).erase_tenant(tenant, now, progress)
    gone["contacts"] = await contacts.erase_tenant(database, tenant)
    kept = await Recipients(database, keys.address).erase_tenant(tenant, progress)

    def drop(db: sqlite3.Connection) -> None:
        for table in _there(db):
            column = TABLES.get(table, _NOBODY).tenant
            if column:
                count = db.execute(f'DELETE FROM "{table}" WHERE {column} = ?', (tenant,)).rowcount
                if count:
                    gone[_words(table, count)] = count
                if count and table in _WITH:
                    db.execute(_WITH[table])
        gone["intents"] = db.execute(
            "UPDATE intent SET sender = '', recipients = '[]' WHERE tenant = ? AND sender || recipients <> '[]'",
            (tenant,),
        ).rowcount
        gone["notices"] = db.execute(
            "UPDATE notice SET message = NULL, recipient = '', details = '{}', reply = '',"
            " state = CASE state WHEN 'waiting' THEN 'none' ELSE state END"
            " WHERE tenant = ? AND (message IS NOT NULL OR recipient <> '' OR details <> '{}')",
            (tenant,),
        ).rowcount

    await database.run(drop, full=True)
    return Erased(gone, {"suppressions": kept}, tuple(map(str, files)))


async def _decisions_of(database: Database, keys: Keys, tenant: str, progress: Count) -> int:
    """Personal fields and evidence of every decision on the tenant's mail."""
    terms = Terms(keys.ledger)
    await decisions.index_pending(database, terms)
    count = 0
    for term in terms.tenant(tenant):
        after = -1
        while True:

            def some(db: sqlite3.Connection, term: int = term, after: int = after) -> tuple[int, int]:
                rows = db.execute(
                    "SELECT t.id FROM decision_term t WHERE t.term = ? AND t.id > ?"
                    " AND EXISTS (SELECT 1 FROM decision_personal p WHERE p.id = t.id) ORDER BY t.id LIMIT ?",
                    (term, after, SLICE),
                ).fetchall()
                for (id,) in rows:
                    decisions.forget(db, terms, id)
                return len(rows), rows[-1][0] if rows else after

            done, after = await database.run(some, full=True)
            count += done
            progress(done)
            if done < SLICE:
                break
    return count


# -- the file ------------------------------------------------------------------------------
async def settle(database: Database, *, compact: bool = False) -> bool:
    """Bring what was erased out of the file and its journal; False if another process was reading all the while.

    compact  also write the whole file anew: pages that once were split can hold what was there before.  Nothing
             else is written meanwhile
    """

    def work() -> bool:
        db = sqlite3.connect(database.path, timeout=10.0, isolation_level=None)
        try:
            if compact:
                db.execute("VACUUM")
            return bool(db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
        finally:
            db.close()

    try:
        return await asyncio.to_thread(work)
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            return False
        raise


def _there(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]


def _words(table: str, count: int) -> str:
    return table.replace("_", " ") + ("s" if not table.endswith(("s", "sync")) else "")


# -- the receipt ----------------------------------------------------------------------------
FORMAT = "aup-relay erasure 1"


def of_person(address: Address, salt: bytes) -> dict[str, str]:
    """Who a receipt is about, for who knows the address and nobody else: SHA-256 of salt and address."""
    return {
        "salt": salt.hex(),
        "sha256": hashlib.sha256(salt + address.exact.encode("utf-8", "surrogatepass")).hexdigest(),
    }


def receipt(signing: Ed25519PrivateKey, about: Mapping[str, Any], erased: Erased) -> dict[str, Any]:
    """{"receipt", "signature", "public_key"}: Ed25519 over the receipt as JSON with sorted names, no blanks, UTF-8.

    about  whose data, when, by whom, reference of the row in the ledger
    """
    content = {
        "format": FORMAT,
        **about,
        "erased": dict(erased.gone),
        "kept": dict(erased.kept),
        "files": list(erased.files),
    }
    return {
        "receipt": content,
        "signature": signing.sign(octets(content)).hex(),
        "public_key": signing.public_key().public_bytes_raw().hex(),
    }


def octets(content: Mapping[str, Any]) -> bytes:
    """What is signed."""
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
