"""`aup-relay domain`, as somebody at a shell sees it; the DNS is a table."""

import json
import stat

import pytest
from click.testing import CliRunner
from relay.cli import cli
from relay.cli import domain as command
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
    def test_add_and_show(self, run, claimed, tmp_path):
        made = run("domain", "key", "add", "acme.example", "--selector", "S1", "--json")
        assert made["name"] == "s1._domainkey.acme.example" and made["value"].startswith("v=DKIM1; k=rsa; p=MII")
        path = tmp_path / "relay.db.keys" / "dkim" / "acme.example.s1.pem"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert "PRIVATE" not in json.dumps(made)
        assert run("domain", "key", "show", "acme.example", "--json") == made
        output = run("domain", "key", "show", "acme.example")
        strings = output.split("IN TXT (")[1].split(")")[0].split('"')[1::2]
        assert "".join(strings) == made["value"] and max(map(len, strings)) <= 255

    def test_ed25519(self, run, claimed):
        assert "k=ed25519" in run("domain", "key", "add", "acme.example", "--type", "ed25519")

    def test_the_running_relay_can_sign_with_it(self, run, claimed, tmp_path):
        from relay.config import read_key
        from relay.message import Message
        from relay.message.sign import sign

        run("domain", "key", "add", "acme.example", "--selector", "s1")
        key = read_key(tmp_path / "relay.db.keys" / "dkim" / "acme.example.s1.pem")
        message = Message(b"From: a@acme.example\r\n\r\nx\r\n")
        assert sign(b"From: a@acme.example\r\n", message, "acme.example", "s1", key, ("from",), 0)

    def test_a_key_is_never_overwritten(self, run, claimed):
        ed = ("--type", "ed25519")
        first = run("domain", "key", "add", "acme.example", "--selector", "s1", "--json", *ed)
        assert "another with --selector" in run("domain", "key", "add", "acme.example", "--selector", "s1", exit=2)
        second = run("domain", "key", "add", "acme.example", "--selector", "s2", "--json", *ed)
        assert second["value"] != first["value"]
        assert run("domain", "key", "show", "acme.example", "--json") == second

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("show", "acme.example"), "domain key add"),
            (("add", "nowhere.example"), "no domain"),
            (("add", "filed.example"), "relay.yaml"),
            (("add", "acme.example", "--selector", "../x"), "not a selector"),
            (("add", "acme.example", "--selector", "a..b"), "not a selector"),
            (("show", "mine.example"), "mine.pem"),
        ],
    )
    def test_wrong_use(self, run, claimed, arguments, words):
        assert words in run("domain", "key", *arguments, exit=2)


class TestShow:
    def records(self, run, domain="acme.example"):
        return {record["what"]: record for record in run("domain", "show", domain, "--json")["publish"]}

    def test_nothing_is_there_yet(self, run, claimed):
        run("domain", "key", "add", "acme.example", "--selector", "s1")
        records = self.records(run)
        assert list(records) == ["ownership", "spf", "dkim", "dmarc"]
        assert {record["state"] for record in records.values()} == {"missing"}
        assert records["spf"]["value"] == "v=spf1 ip4:192.0.2.10 ip6:2001:db8::/64 -all"
        assert records["dmarc"]["value"] == "v=DMARC1; p=none"
        output = run("domain", "show", "acme.example")
        assert "not verified" in output and '_dmarc.acme.example. IN TXT "v=DMARC1; p=none"' in output

    def test_all_is_there(self, run, claimed, zone):
        run("domain", "key", "add", "acme.example", "--selector", "s1")
        for record in self.records(run).values():
            zone[record["name"]] = {"TXT": [record["value"]]}
        assert {record["state"] for record in self.records(run).values()} == {"ok"}

    def test_what_is_wrong(self, run, claimed, zone):
        run("domain", "key", "add", "acme.example", "--selector", "s1")
        other = run("domain", "key", "add", "acme.example", "--selector", "s2", "--json")
        zone |= {
            "_aup-relay.acme.example": {"TXT": ["aup-relay-verify=other"]},
            "acme.example": {"TXT": ["v=spf1 include:_spf.example.net ~all"]},
            "_spf.example.net": {"TXT": ["v=spf1 -all"]},
            "s2._domainkey.acme.example": {"TXT": [other["value"].replace("MIIB", "MIIC")]},
            "_dmarc.acme.example": {"TXT": ["v=DMARC1; p=rejekt\x1b[2J"]},
        }
        records = self.records(run)
        assert {record["state"] for record in records.values()} == {"wrong"}
        # what is there is kept
        assert records["spf"]["value"] == "v=spf1 ip4:192.0.2.10 ip6:2001:db8::/64 include:_spf.example.net ~all"
        assert "\x1b" not in run("domain", "show", "acme.example")

    def test_dns_trouble(self, run, claimed, zone):
        zone |= {"acme.example": None, "_aup-relay.acme.example": None, "_dmarc.acme.example": None}
        assert {record["state"] for record in self.records(run).values()} == {"unknown"}

    def test_keys_of_the_next_hop(self, run, zone):
        record = self.records(run, "filed.example")["dkim"]
        assert (record["name"], record["value"], record["state"]) == ("s1._domainkey.filed.example", "", "missing")

    def test_a_key_file_that_is_not_there(self, run, zone):
        record = self.records(run, "mine.example")["dkim"]
        assert record["state"] == "unknown" and "mine.pem" in record["found"]


def test_list_is_empty_without_domains(run, tmp_path):
    (tmp_path / "relay.yaml").write_text(CONFIG.split("tenants:")[0])
    assert "domain add" in run("domain", "list")
