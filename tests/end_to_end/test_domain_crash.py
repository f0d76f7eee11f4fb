"""SIGKILL while keys are made and rotated and while domains are looked at: what signs, signs on, and nothing is half
written or told twice."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dkim as dkimpy
import pytest
from click.testing import CliRunner
from relay.cli import cli
from relay.config import read_key
from relay.dns import dkim
from relay.keys import Keys
from relay.stores.canary import open_keys
from relay.stores.database import Database
from relay.stores.directory import Directory
from relay.stores.domain_keys import Seal, read_keys, sealed

DOMAIN = "shop.example"


class Shop:
    """A tenant of the store with a domain of its own, and its relay."""

    password = "secret"

    def __init__(self, relay: Any, zone: Any, dying: subprocess.Popen[str]) -> None:
        self.relay, self.zone, self.dying = relay, zone, dying
        self.cli("tenant", "add", "shop", "--policy", "none")
        made = json.loads(self.cli("domain", "add", DOMAIN, "--tenant", "shop", "--json"))
        zone.txt |= {
            DOMAIN: ["v=spf1 ip4:192.0.2.10 -all"],
            f"_dmarc.{DOMAIN}": ["v=DMARC1; p=none"],
            made["publish"]["name"]: [made["publish"]["value"]],
        }
        self.cli("domain", "verify", DOMAIN)

    def cli(self, *arguments: str, status: int = 0) -> str:
        """As a command of its own would, in this process."""
        done = CliRunner().invoke(cli, ["--config", str(self.relay.file), *arguments])
        assert done.exit_code == status, (arguments, done.output)
        return done.stdout

    def killed_everywhere(self, *arguments: str) -> Iterator[None]:
        """The command, killed at each place where it writes, until it comes through."""
        assert self.dying.stdin is not None and self.dying.stdout is not None
        self.dying.stdin.write(json.dumps(["--config", str(self.relay.file), *arguments]) + "\n")
        while True:
            what, _ = self.dying.stdout.readline().split()
            yield
            if what == "ended":
                return
            self.dying.stdin.write("\n")

    def rows(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(f"{self.relay.folder}/relay.db", timeout=10)) as db:
            return db.execute(sql).fetchall()

    def signing(self) -> set[str]:
        """Selectors that a relay which starts now would sign with.  Every key that is kept can be read, and is the
        one that its record publishes."""

        async def look() -> set[str]:
            database = await Database.open(self.relay.folder / "relay.db", warm=False)
            try:
                keys = await open_keys(database, self.relay.folder / "relay.db.keys")
                seal = Seal(keys.master)
                for key, octets in await database.view(lambda db: [(key, sealed(db, key)) for key in read_keys(db)]):
                    assert dkim.record(seal.open(octets, key).public_key()) == key.record
                directory = Directory(database, load_key=read_key, seal=seal)
                await directory.refresh()
                tenant = directory.tenant("shop")
                assert tenant is not None
                [domain] = tenant.domains
                assert domain.dkim_by == "relay"
                assert {signer.selector for signer in domain.signers} == set(domain.selectors)
                return set(domain.selectors)
            finally:
                await database.close()

        return asyncio.run(look())

    def publish(self) -> None:
        """What `domain key show` says."""
        for record in json.loads(self.cli("domain", "key", "show", DOMAIN, "--json")):
            text = '" "'.join(record["strings"])
            self.zone.txt[record["name"]] = [text]

    def signed_with(self, hop: Any, number: int, good: Callable[..., EmailMessage]) -> set[str]:
        """Selectors of a mail that is sent now; every signature is good."""
        before = len(hop.messages())
        with self.relay.smtp(1) as client:
            client.starttls()
            client.login("shop-mail", self.password)
            raw = good(number, From=f"Shop <news@{DOMAIN}>").as_bytes()
            client.sendmail(f"news@{DOMAIN}", "bob@customer.example", raw)
        [sent] = hop.messages()[before:]
        message = dkimpy.DKIM(sent)
        found = set()
        for index, (name, value) in enumerate(one for one in message.headers if one[0].lower() == b"dkim-signature"):
            tags = dkimpy.util.parse_tag_value(value)
            found.add(tags[b"s"].decode())
            if tags[b"a"] == b"rsa-sha256":
                assert message.verify(index, dnsfunc=self._key)
        return found

    def _key(self, name: bytes, timeout: int = 5) -> bytes:
        return self.zone.txt[name.decode().rstrip(".")][0].replace('" "', "").encode()


@pytest.fixture(scope="module")
def dying() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(Path(__file__).with_name("dying.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        yield process


@pytest.fixture
def shop(start: Callable[..., Any], hop: Any, records: Any, dying: subprocess.Popen[str]) -> Shop:
    return Shop(start(hop.port), records, dying)


@pytest.fixture
def closed(configure: Callable[..., Any], records: Any, dying: subprocess.Popen[str], tmp_path: Path) -> Shop:
    """The same while no relay runs, which would look at the DNS by itself."""
    file = tmp_path / "relay.yaml"
    file.write_text(json.dumps(configure(25)))
    return Shop(SimpleNamespace(file=file, folder=tmp_path), records, dying)


def test_a_domain_signs_with_its_old_keys_or_its_new_ones_whatever_is_killed(
    shop: Shop, hop: Any, good: Callable[..., EmailMessage], wait: Callable[..., Any]
) -> None:
    shop.cli("credential", "add", "shop-mail", "--tenant", "shop", "--password-file", f"{shop.relay.folder}/acme.pw")
    shop.cli("domain", "key", "add", DOMAIN, "--selector", "old")
    shop.publish()
    old, new = {"old", "olde"}, {"new", "newe"}
    shop.relay.kill()  # one that starts now knows the login and the keys
    shop.relay.start()
    assert shop.signed_with(hop, 0, good) == old

    prepared = "SELECT count(*) FROM domain_key WHERE state = 'prepared'"
    counts = []
    for _ in shop.killed_everywhere("domain", "key", "rotate", DOMAIN, "--selector", "new"):
        assert shop.signing() == old
        counts.append(shop.rows(prepared)[0][0])
    assert counts == sorted(counts) and set(counts) == {0, 2}, "both keys are there or none"
    shop.publish()

    at: list[set[str]] = []
    for _ in shop.killed_everywhere("domain", "key", "rotate", DOMAIN, "--activate"):
        at.append(shop.signing())
        assert at[-1] in (old, new)
        if at[-1] == new and old == at[-2]:
            shop.relay.kill()
            shop.relay.start()
        assert shop.signed_with(hop, len(at), good) in (old, new)
    assert at == sorted(at, key=lambda one: one == new) and at[0] == old and at[-1] == new, "once, and for good"
    wait(lambda: shop.signed_with(hop, 99, good) == new)
    assert shop.rows("SELECT count(*) FROM domain_key WHERE state = 'retired' AND sealed IS NOT NULL") == [(2,)]


def test_links_of_every_key_are_read_whatever_kills_its_rotation(shop: Shop) -> None:
    folder = shop.relay.folder / "relay.db.keys"
    links: list[str] = []
    known: list[bytes] = []
    for _ in shop.killed_everywhere("unsubscribe", "rotate", "--yes"):
        tokens = Keys.open(folder, create=False).tokens
        assert [key for key in tokens if key in known] == known, "none is lost, the newest comes first"
        if list(tokens) != known:
            known = list(tokens)
            made = shop.cli("unsubscribe", "link", f"bob{len(known)}@customer.example", "--tenant", "acme")
            links.append("/u/" + made.split()[0].rpartition("/u/")[2])
        assert {shop.relay.get(link, shop.relay.public)[0] for link in links} == {200}
    assert len(known) > 2, "killed also behind the moment at which the new key counts"


def test_what_a_look_saw_is_stored_and_told_together_whatever_kills_it(closed: Shop) -> None:
    shop = closed
    shop.cli("webhook", "add", "https://hooks.platform.example/", "--operator", "--kind", "domain.changed")

    def state() -> tuple[str, int, int, int]:
        [(stage, bad)] = shop.rows(f"SELECT stage, bad FROM domain_record WHERE domain = '{DOMAIN}' AND kind = 'spf'")
        [(notices,)] = shop.rows("SELECT count(*) FROM notice")
        [(events,)] = shop.rows("SELECT count(*) FROM webhook_event")
        return stage, bad, notices, events

    look = ("domain", "watch", DOMAIN, "--once")
    shop.cli(*look)
    was = state()
    assert was == ("well", 0, 0, 0)
    kept = shop.zone.txt.pop(DOMAIN)
    for record, then in (
        (None, ("warn", 1, 0, 1)),
        (None, ("warn", 2, 1, 1)),  # one look could be a mistake: the tenant is told after the second
        (kept, ("well", 0, 2, 2)),
    ):
        if record is not None:
            shop.zone.txt[DOMAIN] = record
        seen = []
        for _ in shop.killed_everywhere(*look):
            seen.append(state())
            if seen[-1] != was:
                break  # what is killed behind it has looked; the next one is another look
        assert set(seen) == {was, then}, "all of it or nothing"
        was = then
    shop.cli(*look)
    assert state() == was, "and nothing is told again"
