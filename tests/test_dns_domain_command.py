"""`aup-relay domain`, as somebody at a shell sees it; the DNS is a table."""

import asyncio
import itertools
import json

import dns.zone
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from relay.cli import cli
from relay.cli import domain as command
from relay.dns import dkim
from relay.dns.resolver import StaticResolver

CONFIG = """
listen: [{host: 127.0.0.1, port: 2525, tls: none, auth: required}]
next_hop: {host: 127.0.0.1, port: 25, tls: none}
store: sqlite:///relay.db
operator: {name: Example, from: postmaster@platform.example, abuse: abuse@platform.example}
egress: [192.0.2.10, "2001:db8::/64"]
tenants:
  filed:
    policy: none
    legal_name: Filed Ltd
    postal_address: 1 Main Street
    contact: abuse@filed.example
    domains:
      filed.example: {verified: false, dkim: {by: next-hop, selectors: [s1]}}
      mine.example: {verified: true, dkim: {by: relay, selector: k1, key_file: mine.pem}}
"""


class Table(StaticResolver):
    async def close(self):
        pass


@pytest.fixture
def zone(monkeypatch):
    table = Table({})
    monkeypatch.setattr(command, "Resolver", lambda nameservers, timeout: table)
    return table.zone


_MADE = [rsa.generate_private_key(65537, 2048) for _ in range(3)]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """RSA keys out of a bag: to make one takes a fifth of a second."""
    bag, make = itertools.cycle(_MADE), command._generate
    monkeypatch.setattr(command, "_generate", lambda kind: next(bag) if kind == "rsa" else make(kind))


@pytest.fixture
def run(tmp_path, zone):
    (tmp_path / "relay.yaml").write_text(CONFIG)

    def run(*arguments, exit=0):
        result = CliRunner().invoke(cli, ["--config", str(tmp_path / "relay.yaml"), *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == exit, result.output
        if "--json" in arguments and exit < 2:
            return json.loads(result.stdout)
        return result.output

    return run


def signers_of(folder):
    """What a running relay signs acme.example's mail with."""
    from relay.config import read_key
    from relay.stores.canary import open_keys
    from relay.stores.database import Database
    from relay.stores.directory import Directory
    from relay.stores.domain_keys import Seal

    async def look():
        database = await Database.open(folder / "relay.db", warm=False)
        try:
            keys = await open_keys(database, folder / "relay.db.keys")
            directory = Directory(database, load_key=read_key, seal=Seal(keys.master))
            await directory.refresh()
            [domain] = directory.tenant("acme").domains
            return domain.signers
        finally:
            await database.close()

    return asyncio.run(look())


def published_by(line):
    """The texts of a line of a zone file, as a name server reads it."""
    lines = ["$TTL 300", "@ IN SOA a. b. 1 2 3 4 5", "@ IN NS a.", line.strip(), ""]
    read = dns.zone.from_text("\n".join(lines), origin=".", relativize=False)
    return [b"".join(record.strings) for _, _, record in read.iterate_rdatas("TXT")]


def pem():
    return rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def acme(run):
    run("tenant", "add", "acme", "--policy", "none")


@pytest.fixture
def claimed(run, acme):
    return run("domain", "add", "acme.example", "--tenant", "acme", "--json")


class TestAdd:
    def test_says_what_to_publish(self, run, acme):
        output = run("domain", "add", "Acme.Example", "--tenant", "acme")
        assert '_aup-relay.acme.example. IN TXT "aup-relay-verify=' in output
        assert "domain verify acme.example" in output

    def test_again_says_the_same(self, run, claimed):
        assert run("domain", "add", "acme.example", "--tenant", "acme", "--json") == claimed

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("acme.example", "--tenant", "acmee"), "did you mean 'acme'"),
            (("not a domain", "--tenant", "acme"), "bad label"),
            (("example", "--tenant", "acme"), "no dot"),
            (("new.example", "--tenant", "filed"), "relay.yaml"),
            (("acme.example", "--tenant", "acme", "--dkim", "next-hop"), "--selector"),
            (("acme.example", "--tenant", "acme", "--selector", "s1"), "next-hop"),
            (("acme.example", "--tenant", "acme", "--dkim", "next-hop", "--selector", "a b"), "not a selector"),
        ],
    )
    def test_wrong_use(self, run, acme, arguments, words):
        assert words in run("domain", "add", *arguments, exit=2)


class TestVerify:
    def test_not_there_then_there(self, run, claimed, zone):
        output = run("domain", "verify", "acme.example", exit=1)
        assert claimed["publish"]["value"] in output
        assert not run("domain", "list", "--tenant", "acme", "--json")[0]["verified"]
        zone[claimed["publish"]["name"]] = {"TXT": [claimed["publish"]["value"]]}
        assert "verified" in run("domain", "verify", "acme.example")
        [listed] = run("domain", "list", "--tenant", "acme", "--json")
        assert listed["verified"] and listed["checked"]

    def test_it_stays_verified_when_the_record_goes(self, run, claimed, zone):
        zone[claimed["publish"]["name"]] = {"TXT": [claimed["publish"]["value"]]}
        run("domain", "verify", "acme.example")
        zone.clear()
        assert "stays verified" in run("domain", "verify", "acme.example", exit=1)

    def test_dns_trouble_is_no_answer(self, run, claimed, zone):
        zone[claimed["publish"]["name"]] = None
        assert "try again" in run("domain", "verify", "acme.example", exit=1)

    def test_two_tenants_cannot_both_have_it(self, run, claimed, zone):
        run("tenant", "add", "other", "--policy", "none")
        theirs = run("domain", "add", "acme.example", "--tenant", "other", "--json")
        assert theirs["publish"]["value"] != claimed["publish"]["value"]
        assert "say which" in run("domain", "verify", "acme.example", exit=2)
        zone[claimed["publish"]["name"]] = {"TXT": [claimed["publish"]["value"], theirs["publish"]["value"]]}
        run("domain", "verify", "acme.example", "--tenant", "acme")
        assert "another tenant" in run("domain", "verify", "acme.example", "--tenant", "other", exit=2)

    def test_a_domain_that_the_file_declares(self, run, zone):
        record = run("domain", "verify", "filed.example", "--json", exit=1)["publish"]
        zone[record["name"]] = {"TXT": [record["value"]]}
        run("domain", "verify", "filed.example")
        filed = next(row for row in run("domain", "list", "--json") if row["domain"] == "filed.example")
        assert (filed["verified"], filed["dkim"], filed["source"]) == (True, "next-hop", "file")

    def test_unknown(self, run, claimed):
        assert "did you mean 'acme.example'" in run("domain", "verify", "acme.exampel", exit=2)


class TestKey:
    """Keys of the store's domains; `publish` puts what is printed into the table of the DNS."""

    @pytest.fixture
    def publish(self, zone):
        def publish(records):
            zone.update({record["name"]: {"TXT": [record["value"]]} for record in records})

        return publish

    @pytest.fixture
    def now(self, monkeypatch):
        """The clock: now[0]."""
        now = [1_767_225_600.0]
        monkeypatch.setattr(command.time, "time", lambda: now[0])
        return now

    def listed(self, run, domain="acme.example"):
        return {row["selector"]: row for row in run("domain", "key", "list", domain, "--json")}

    def test_add_and_show(self, run, claimed, tmp_path):
        rsa, ed25519 = made = run("domain", "key", "add", "acme.example", "--selector", "S1", "--json")
        assert rsa["name"] == "s1._domainkey.acme.example" and rsa["value"].startswith("v=DKIM1; k=rsa; p=MII")
        assert ed25519["name"] == "s1e._domainkey.acme.example" and "k=ed25519" in ed25519["value"]
        assert run("domain", "key", "show", "acme.example", "--json") == made
        output = run("domain", "key", "show", "acme.example")
        strings = output.split("IN TXT (")[1].split(")")[0].split('"')[1::2]
        assert "".join(strings) == rsa["value"] and max(map(len, strings)) <= 255
        assert f"value  {rsa['value']}" in output and f'IN TXT "{ed25519["value"]}"' in output
        assert {row["state"] for row in self.listed(run).values()} == {"signing"}

    def test_no_private_key_lies_about(self, run, claimed, tmp_path):
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        output = run("domain", "key", "add", "acme.example")
        output += run("domain", "show", "acme.example", exit=1) + run("domain", "key", "list")
        assert "PRIVATE" not in output
        signers = signers_of(tmp_path)
        assert [signer.rsa for signer in signers] == [True, False]
        on_disk = b"".join(file.read_bytes() for file in tmp_path.glob("relay.db*") if file.is_file())
        for signer in signers:
            secret = signer.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            assert secret[-32:] not in on_disk and b"PRIVATE" not in on_disk
            assert "key" not in repr(signer)

    def test_one_kind_after_the_other(self, run, claimed):
        [rsa] = run("domain", "key", "add", "acme.example", "--type", "rsa", "--selector", "s1", "--json")
        assert (rsa["selector"], rsa["kind"]) == ("s1", "rsa")
        [ed25519] = run("domain", "key", "add", "acme.example", "--selector", "s2", "--json")
        assert ed25519["kind"] == "ed25519"
        states = {name: row["state"] for name, row in self.listed(run).items()}
        assert states == {"s1": "signing", "s2": "prepared"}  # what signs already goes on until it is published
        assert "rotate" in run("domain", "key", "add", "acme.example", exit=2)

    def test_where_somebody_else_signs_it_begins_when_published(self, run, claimed, publish):
        run("domain", "add", "acme.example", "--tenant", "acme", "--dkim", "client")
        made = run("domain", "key", "add", "acme.example", "--json")
        assert run("domain", "list", "--tenant", "acme", "--json")[0]["dkim"] == "client"
        publish(made)
        run("domain", "key", "rotate", "acme.example", "--activate")
        assert run("domain", "list", "--tenant", "acme", "--json")[0]["dkim"] == "relay"
        run("domain", "add", "acme.example", "--tenant", "acme", "--dkim", "client")
        assert {row["state"] for row in self.listed(run).values()} == {"retired"}

    def test_rotate(self, run, claimed, publish, now, tmp_path):
        publish(run("domain", "key", "add", "acme.example", "--selector", "s1", "--json"))
        new = run("domain", "key", "rotate", "acme.example", "--selector", "s2", "--json")
        assert [each["selector"] for each in new] == ["s2", "s2e"]
        assert run("domain", "key", "rotate", "acme.example", "--json") == new  # they are made once
        assert [signer.selector for signer in signers_of(tmp_path)] == ["s1", "s1e"]
        publish(new[:1])
        output = run("domain", "key", "rotate", "acme.example", "--activate", exit=1)
        assert "s2e._domainkey.acme.example: missing" in output and "s2._domainkey" not in output
        assert [signer.selector for signer in signers_of(tmp_path)] == ["s1", "s1e"]
        publish(new)
        output = run("domain", "key", "rotate", "acme.example", "--activate")
        assert "keep s1._domainkey.acme.example until 2026-01-08" in output
        assert [signer.selector for signer in signers_of(tmp_path)] == ["s2", "s2e"]
        listed = self.listed(run)
        assert {name: row["state"] for name, row in listed.items()} == {
            "s1": "retired", "s1e": "retired", "s2": "signing", "s2e": "signing",
        }  # fmt: skip
        assert listed["s1"]["record"].startswith("keep it until 2026-01-08")
        now[0] += 8 * 86400
        assert self.listed(run)["s1"]["record"] == "remove it"
        assert [each["selector"] for each in run("domain", "key", "show", "acme.example", "--json")] == ["s2", "s2e"]

    @pytest.mark.parametrize(
        ("kind", "signing", "gone"), [("ed25519", ["s1", "s2"], "s1e"), ("rsa", ["s2", "s1e"], "s1")]
    )
    def test_rotate_one_kind(self, run, claimed, tmp_path, kind, signing, gone):
        run("domain", "key", "add", "acme.example", "--selector", "s1")
        run("domain", "key", "rotate", "acme.example", "--type", kind, "--selector", "s2")
        result = run("domain", "key", "rotate", "acme.example", "--activate", "--force", "--json")
        assert sorted(result["signing"]) == sorted(signing) and result["retired"] == [gone]
        assert [signer.selector for signer in signers_of(tmp_path)] == signing
        assert {name for name, row in self.listed(run).items() if row["state"] == "signing"} == set(signing)

    def test_rotate_without_asking_the_dns(self, run, claimed, zone):
        run("domain", "key", "add", "acme.example", "--selector", "s1")
        run("domain", "key", "rotate", "acme.example", "--selector", "s2")
        zone["s2._domainkey.acme.example"] = None
        assert "unknown" in run("domain", "key", "rotate", "acme.example", "--activate", exit=1)
        result = run("domain", "key", "rotate", "acme.example", "--activate", "--force", "--json")
        assert result["signing"] == ["s2", "s2e"] and result["retired"] == ["s1", "s1e"]

    def test_names_made_from_the_date_do_not_clash(self, run, claimed, now):
        run("domain", "key", "add", "acme.example")
        run("domain", "key", "rotate", "acme.example")
        assert len(self.listed(run)) == 4

    def test_retire(self, run, claimed):
        run("domain", "key", "add", "acme.example", "--selector", "s1")
        assert "keep s1e._domainkey.acme.example until" in run("domain", "key", "retire", "acme.example", "s1e")
        assert "last key" in run("domain", "key", "retire", "acme.example", "s1", exit=2)
        assert run("domain", "list", "--tenant", "acme", "--json")[0]["selectors"] == ["s1"]
        run("domain", "key", "retire", "acme.example", "s1", "--last")
        assert run("domain", "list", "--tenant", "acme", "--json")[0]["dkim"] == ""

    def test_retire_the_last_one_that_every_receiver_verifies(self, run, claimed):
        run("domain", "key", "add", "acme.example", "--selector", "s1")
        assert "s1 is the last RSA key of acme.example" in run("domain", "key", "retire", "acme.example", "s1", exit=2)
        run("domain", "key", "retire", "acme.example", "s1", "--last")
        assert run("domain", "list", "--tenant", "acme", "--json")[0]["selectors"] == ["s1e"]

    def test_retire_what_was_never_used(self, run, claimed):
        run("domain", "key", "add", "acme.example", "--selector", "s1")
        run("domain", "key", "rotate", "acme.example", "--selector", "s2")
        run("domain", "key", "retire", "acme.example", "s2")
        assert set(self.listed(run)) == {"s1", "s1e", "s2e"}

    def test_retire_what_somebody_else_has(self, run, claimed):
        run("domain", "key", "add", "acme.example", "--selector", "s1")
        output = run("domain", "key", "retire", "acme.example", "s1e", "--compromised")
        assert 's1e._domainkey.acme.example. IN TXT "v=DKIM1; p="' in output
        assert self.listed(run)["s1e"]["deleted"]

    def test_what_was_done_stands_in_the_ledger(self, run, claimed):
        run("domain", "key", "add", "acme.example", "--selector", "s1")
        run("domain", "key", "rotate", "acme.example", "--selector", "s2")
        run("domain", "key", "rotate", "acme.example", "--activate", "--force")
        run("domain", "key", "retire", "acme.example", "s2e")
        acts = [row["action"] for row in run("decision", "list", "--json") if "key" in row["action"]]
        assert sorted(acts) == [f"domain key {act}" for act in ("activated", "added", "prepared", "retired")]

    def test_a_key_in_a_file_goes_on_and_is_rotated(self, run, claimed, publish, tmp_path):
        """As an earlier version made them."""
        import sqlite3
        from contextlib import closing

        path = tmp_path / "relay.db.keys" / "dkim" / "old.pem"
        path.parent.mkdir()
        path.write_bytes(pem())
        with closing(sqlite3.connect(tmp_path / "relay.db")) as db, db:
            db.execute(
                "UPDATE domain SET dkim_by = 'relay', selector = 's0', selectors = '[\"s0\"]', key_file = ?",
                (str(path),),
            )
        assert [signer.selector for signer in signers_of(tmp_path)] == ["s0"]
        assert self.listed(run)["s0"]["type"] == "rsa"
        [ed25519] = run("domain", "key", "add", "acme.example", "--selector", "s1", "--json")
        publish([ed25519])
        run("domain", "key", "rotate", "acme.example", "--activate")
        assert [signer.selector for signer in signers_of(tmp_path)] == ["s0", "s1"]
        publish(run("domain", "key", "rotate", "acme.example", "--selector", "s2", "--json"))
        run("domain", "key", "rotate", "acme.example", "--activate")
        assert [signer.selector for signer in signers_of(tmp_path)] == ["s2", "s2e"]

    def test_those_of_the_file_are_shown_and_left_alone(self, run, tmp_path):
        (tmp_path / "mine.pem").write_bytes(pem())
        [shown] = run("domain", "key", "show", "mine.example", "--json")
        assert shown["name"] == "k1._domainkey.mine.example"
        for act in (["add"], ["rotate"], ["retire"]):
            name = ["k1"] if act == ["retire"] else []
            assert "relay.yaml" in run("domain", "key", *act, "mine.example", *name, exit=2)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("show", "acme.example"), "domain key add"),
            (("rotate", "acme.example"), "domain key add"),
            (("rotate", "acme.example", "--activate"), "no key of acme.example waits"),
            (("rotate", "acme.example", "--force"), "--activate"),
            (("retire", "acme.example", "s1"), "no key for the selector"),
            (("add", "nowhere.example"), "no domain"),
            (("add", "filed.example"), "relay.yaml"),
            (("add", "acme.example", "--selector", "../x"), "not a selector"),
            (("add", "acme.example", "--selector", "a..b"), "not a selector"),
            (("add", "acme.example", "--selector", "a" * 64), "it has 64 letters"),
            (("add", "acme.example", "--selector", "s1-"), "a dot or hyphen at an end"),
            (("add", "acme.example", "--selector", "a" * 63), "and an e, which is more than the 63 octets"),
            (("show", "mine.example"), "mine.pem"),
            (("rotat", "mine.example"), "did you mean 'rotate'"),
        ],
    )
    def test_wrong_use(self, run, claimed, arguments, words):
        assert words in run("domain", "key", *arguments, exit=2)

    def test_selectors_as_long_as_a_label_may_be(self, run, claimed):
        run("domain", "key", "add", "acme.example", "--selector", "a" * 63, "--type", "rsa")
        run("domain", "key", "rotate", "acme.example", "--selector", "c" * 62)
        found = {row["selector"] for row in run("domain", "key", "list", "--json") if row["domain"] == "acme.example"}
        assert found == {"a" * 63, "c" * 62, "c" * 62 + "e"}

    def test_a_name_that_is_too_long_for_the_dns(self, run, acme):
        long = ".".join(["d" * 60] * 3 + ["example"])
        run("domain", "add", long, "--tenant", "acme")
        assert "257 octets" in run("domain", "key", "add", long, "--selector", "s" * 54, exit=2)
        run("domain", "key", "add", long, "--selector", "s" * 50)


class TestShow:
    def records(self, run, domain="acme.example", exit=1):
        """By what it is for; each DKIM key has one."""
        found = run("domain", "show", domain, "--json", exit=exit)["publish"]
        return {record["what"] + record["name"].partition("e._domainkey")[1][:1]: record for record in found}

    def test_nothing_is_there_yet(self, run, claimed):
        run("domain", "key", "add", "acme.example", "--selector", "s1")
        records = self.records(run)
        assert list(records) == ["ownership", "spf", "dkim", "dkime", "dmarc", "mx"]
        assert {record["state"] for record in records.values()} == {"missing"}
        assert records["spf"]["value"] == "v=spf1 ip4:192.0.2.10 ip6:2001:db8::/64 ~all"
        assert records["dmarc"]["value"] == "v=DMARC1; p=none"
        output = run("domain", "show", "acme.example", exit=1)
        assert "not verified" in output and '_dmarc.acme.example. IN TXT "v=DMARC1; p=none"' in output

    def test_all_is_there(self, run, claimed, zone):
        run("domain", "key", "add", "acme.example", "--selector", "s1")
        for record in self.records(run).values():
            zone.setdefault(record["name"], {})[record["type"]] = [record["value"] or "10 mx.acme.example"]
        assert {record["state"] for record in self.records(run, exit=0).values()} == {"ok"}
        assert "p=none" in run("domain", "show", "acme.example")  # a hint, no more

    def test_what_is_wrong(self, run, claimed, zone):
        run("domain", "key", "add", "acme.example", "--selector", "s1")
        [other, *_] = run("domain", "key", "show", "acme.example", "--json")
        zone |= {
            "_aup-relay.acme.example": {"TXT": ["aup-relay-verify=other"]},
            "acme.example": {"TXT": ["v=spf1 include:_spf.example.net ~all"], "MX": ["0 ."]},
            "_spf.example.net": {"TXT": ["v=spf1 -all"]},
            "s1._domainkey.acme.example": {"TXT": [other["value"].replace("MIIB", "MIIC")]},
            "s1e._domainkey.acme.example": {"TXT": ["v=DKIM1; k=ed25519; p="]},
            "_dmarc.acme.example": {"TXT": ["v=DMARC1; p=rejekt\x1b[2J"]},
        }
        records = self.records(run)
        assert {record["state"] for record in records.values()} == {"wrong"}
        # what is there is kept
        assert records["spf"]["value"] == "v=spf1 ip4:192.0.2.10 ip6:2001:db8::/64 include:_spf.example.net ~all"
        assert "\x1b" not in run("domain", "show", "acme.example", exit=1)

    def test_a_long_record_is_shown_whole(self, run, tmp_path):
        key = rsa.generate_private_key(65537, 4096)
        octets = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / "mine.pem").write_bytes(octets)
        (tmp_path / "mine.pem").chmod(0o600)
        value = dkim.record(key.public_key())
        assert len(value) > 700
        lines = run("domain", "show", "mine.example", exit=1).splitlines()
        assert f"value  {value}" in {line.strip() for line in lines}
        [line] = [line for line in lines if line.strip().startswith("k1._domainkey.mine.example. IN TXT")]
        assert published_by(line) == [value.encode()]

    def test_a_record_that_is_kept_is_a_line_of_a_zone_file(self, run, claimed, zone):
        there = 'v=spf1 include:"x;y\\z\x1b.example é ~all'
        zone["acme.example"] = {"TXT": [there + " " + "a" * 300]}
        spf = self.records(run)["spf"]
        assert spf["value"].endswith("a" * 300)
        for line in (spf["zone"], run("domain", "show", "acme.example", exit=1)):
            [line] = [each for each in line.splitlines() if each.strip().startswith("acme.example. IN TXT")]
            assert published_by(line) == [spf["value"].encode()]
            assert line.isascii() and line.isprintable()

    def test_several_spf_records_become_one(self, run, claimed, zone):
        texts = ["v=spf1 include:_spf.one.example ip4:192.0.2.10 ~all", "v=spf1 include:_spf.one.example mx -all"]
        zone["acme.example"] = {"TXT": [*texts, "other"]}
        spf = self.records(run)["spf"]
        assert (spf["state"], spf["value"]) == (
            "wrong", "v=spf1 ip6:2001:db8::/64 include:_spf.one.example ip4:192.0.2.10 mx ~all",
        )  # fmt: skip
        zone["acme.example"] = {"TXT": ["v=spf1 redirect=_spf.one.example", "v=spf1 mx redirect=_spf.two.example"]}
        assert self.records(run)["spf"]["value"] == (
            "v=spf1 ip4:192.0.2.10 ip6:2001:db8::/64 include:_spf.one.example mx include:_spf.two.example ~all"
        )

    def test_what_nobody_can_see_now_is_not_to_be_replaced(self, run, claimed, zone):
        zone |= {"acme.example": None, "_dmarc.acme.example": None}
        records = self.records(run)
        assert [(records[what]["state"], records[what]["value"]) for what in ("spf", "dmarc")] == [("unknown", "")] * 2
        output = run("domain", "show", "acme.example", exit=1)
        assert "v=spf1" not in output and "v=DMARC1" not in output and "aup-relay-verify=" in output

    def test_dns_trouble(self, run, claimed, zone):
        zone |= {"acme.example": None, "_aup-relay.acme.example": None, "_dmarc.acme.example": None}
        assert {record["state"] for record in self.records(run, exit=0).values()} == {"unknown"}

    def test_keys_of_the_next_hop(self, run, zone):
        record = self.records(run, "filed.example")["dkim"]
        assert (record["name"], record["value"], record["state"]) == ("s1._domainkey.filed.example", "", "missing")

    def test_a_key_file_that_is_not_there(self, run, zone):
        record = self.records(run, "mine.example")["dkim"]
        assert record["state"] == "unknown" and "mine.pem" in record["found"]


def test_list_is_empty_without_domains(run, tmp_path):
    (tmp_path / "relay.yaml").write_text(CONFIG.split("tenants:")[0])
    assert "domain add" in run("domain", "list")
