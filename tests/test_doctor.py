"""doctor: one line for each part, what is wrong with it and how to mend it; it changes nothing."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from relay.cli import cli
from relay.cli.doctor import Line, examine
from relay.stores.database import Database
from relay.stores.migrate import migrate

NOW = datetime(2031, 5, 4, tzinfo=UTC).timestamp()
DAY = 86400.0
CONFIG = """\
hostname: relay.example
listen: [{{host: 127.0.0.1, port: 2587}}]
tls: {{cert: cert.pem, key: key.pem}}
next_hop: {{host: 127.0.0.1, port: {hop}, tls: none}}
operator: {{name: P, from: a@platform.example, abuse: a@platform.example}}
egress: [192.0.2.10]
dns: {{nameservers: ["127.0.0.1:{dns}"], timeout: 100ms}}
http: {{public: {{host: 127.0.0.1, port: 8025}}, base_url: "https://mail.platform.example"}}
tenants:
  acme:
    policy: baseline
    legal_name: Acme Outreach Ltd
    postal_address: 1 Main Street
    contact: abuse@acme.example
    domains: {{acme.example: {{verified: true, dkim: {{by: next-hop, selectors: [s1]}}}}, new.example: {{}}}}
    credentials: {{campaigns: {{password_file: acme.pw}}}}
"""


def closed_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def certificate(folder: Path, begins: float, ends: float, name: str = "relay.example") -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.fromtimestamp(begins, UTC))
        .not_valid_after(datetime.fromtimestamp(ends, UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "key.pem").chmod(0o600)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    certificate(tmp_path, NOW - 100 * DAY, NOW + 100 * DAY)
    (tmp_path / "acme.pw").write_text("correct horse\n")
    (tmp_path / "acme.pw").chmod(0o600)
    path = tmp_path / "relay.yaml"
    path.write_text(CONFIG.format(hop=closed_port(), dns=closed_port()))
    return path


async def report(path: Path, *, offline: bool = True, now: float = NOW) -> dict[str, list[Line]]:
    lines: dict[str, list[Line]] = {}
    async for line in examine(path, now, offline=offline):
        lines.setdefault(line.what, []).append(line)
    return lines


def one(lines: dict[str, list[Line]], what: str) -> Line:
    [line] = lines[what]
    return line


async def test_what_is_right_is_said_too(file: Path) -> None:
    lines = await report(file)
    for what in ("configuration", "permissions", "store", "certificate"):
        assert one(lines, what).level == "ok", lines[what]
    assert sorted(p.name for p in file.parent.iterdir()) == ["acme.pw", "cert.pem", "key.pem", "relay.yaml"]


async def test_every_problem_of_the_configuration_is_a_line(file: Path) -> None:
    file.write_text(file.read_text() + "workers: 0\ntrace: some\n")
    lines = await report(file)
    assert set(lines) == {"configuration"}
    assert [line.level for line in lines["configuration"]] == ["fail", "fail"]
    assert "workers: must be at least 1" in lines["configuration"][0].says


async def test_an_unreadable_secret_does_not_end_the_examination(file: Path) -> None:
    (file.parent / "acme.pw").unlink()
    lines = await report(file)
    assert "password_file: cannot be read" in one(lines, "configuration").says
    assert "certificate" in lines


@pytest.mark.parametrize(
    ("begins", "ends", "level", "says"),
    [
        (-10, 100, "ok", "valid until 2031-08-12"),
        (-10, 5, "warn", "ends on 2031-05-09, in 5 days"),
        (-10, -1, "fail", "ended on 2031-05-03"),
        (1, 9, "fail", "is not valid before 2031-05-05"),
    ],
)
async def test_the_dates_of_the_certificate(file: Path, begins: int, ends: int, level: str, says: str) -> None:
    certificate(file.parent, NOW + begins * DAY, NOW + ends * DAY)
    found = one(await report(file), "certificate")
    assert (found.level, found.says.startswith(says)) == (level, True)


async def test_a_certificate_of_another_name(file: Path) -> None:
    certificate(file.parent, NOW - DAY, NOW + 100 * DAY, "other.example")
    assert "does not name relay.example (it names other.example)" in (await report(file))["certificate"][1].says


async def test_a_secret_that_is_open_to_everybody(file: Path) -> None:
    (file.parent / "acme.pw").chmod(0o644)
    found = one(await report(file), "permissions")
    assert found.level == "warn" and found.mend == f"chmod 600 {file.parent / 'acme.pw'}"
    assert "correct horse" not in found.says


async def test_a_clock_before_the_last_decision(file: Path) -> None:
    store = file.parent / "relay.db"
    migrate(store)
    assert one(await report(file), "clock").level == "ok"
    database = await Database.open(store, warm=False)
    row = int((NOW + DAY) * 1e6) << 10
    await database.run(
        lambda db: db.execute("INSERT INTO decision VALUES (?, 1, 1, NULL, x'00', x'00', x'00')", (row,)) and None
    )
    await database.close()
    found = one(await report(file), "clock")
    assert found.level == "fail"
    assert "2031-05-04 00:00:00 UTC is before the last decision, 2031-05-05 00:00:00 UTC" in found.says


async def test_a_store_that_is_not_a_store(file: Path) -> None:
    (file.parent / "relay.db").write_text("not a database, but long enough to be read as one " * 20)
    (file.parent / "relay.db").chmod(0o600)
    assert [line.level for line in (await report(file))["store"]] == ["fail"]


async def test_domains_nobody_vouched_for_and_what_is_not_enforced(file: Path) -> None:
    lines = await report(file)
    [domain] = lines["tenant acme"]
    assert "new.example is not verified" in domain.says and domain.mend == "aup-relay domain verify new.example"
    gaps = [line.says for line in lines["policy baseline for acme"]]
    b9 = "B9 (Send nothing that attacks the reader) is partly: malware: no scanner is configured"
    assert any(gap.startswith(b9) for gap in gaps)
    assert not any(gap.startswith("B1 ") for gap in gaps)


async def test_gaps_that_this_configuration_makes_stand_apart_from_those_it_cannot_mend(file: Path) -> None:
    file.write_text(file.read_text().replace("policy: baseline", "policy: leadnest"))
    lines = (await report(file))["policy leadnest for acme"]
    warned = [line.says for line in lines if line.level == "warn"]
    assert any(
        says.startswith("O4 ") and says.endswith(": no transfers are declared for tenant acme") for says in warned
    )
    assert not any("engagement is not seen" in says for says in warned)
    [always] = [line.says for line in lines if line.level == "ok"]
    assert "D5" in always and "D3" not in always and "O4" not in always and "policy coverage leadnest" in always


async def test_notices_that_nobody_signs(file: Path) -> None:
    assert one(await report(file), "operator").level == "warn"
    file.write_text(file.read_text().replace("from: a@platform.example", "from: a@own.example"))
    key = "dkim: {by: relay, selector: s1, key_file: dkim.pem}"
    private = ed25519.Ed25519PrivateKey.generate()
    (file.parent / "dkim.pem").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    (file.parent / "dkim.pem").chmod(0o600)
    file.write_text(file.read_text().replace("abuse: a@", key + ", abuse: a@"))
    lines = await report(file)
    assert one(lines, "configuration").level == "ok" and "operator" not in lines


async def test_the_world_is_away(file: Path) -> None:
    lines = await report(file, offline=False)
    assert one(lines, "next hop next_hop").level == one(lines, "DNS").level == "fail"
    assert "connect:" in one(lines, "next hop next_hop").says


# What a good domain publishes; each case takes one thing away.
ZONE = {
    "platform.example": {"MX": ["10 mx.platform.example"]},
    "acme.example": {"MX": ["10 mx.acme.example"], "TXT": ["v=spf1 ip4:192.0.2.10 -all"]},
    "_dmarc.acme.example": {"TXT": ["v=DMARC1; p=reject"]},
    "s1._domainkey.acme.example": {"TXT": ["v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="]},
}


@pytest.mark.parametrize(
    ("name", "records", "says", "mend"),
    [
        ("", {}, "SPF, DKIM and DMARC are published", ""),
        (
            "acme.example",
            {"TXT": ["v=spf1 -all"], "MX": ["1 mx.acme.example"]},
            "SPF is fail for 192.0.2.10",
            "must allow ip4:192.0.2.10",
        ),
        ("acme.example", {"TXT": ["v=spf1 ip4:192.0.2.10 -all"], "MX": ["0 ."]}, "null MX", "publish an MX record"),
        ("_dmarc.acme.example", {}, "has no DMARC record", 'publish _dmarc.acme.example TXT "v=DMARC1; p=none"'),
        ("s1._domainkey.acme.example", {}, "no DKIM key is published at s1._domainkey.acme.example", "publish it"),
        ("s1._domainkey.acme.example", None, "cannot be looked up now", ""),
    ],
)
async def test_what_the_domains_of_tenants_publish(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str, records: dict[str, list[str]] | None, says: str, mend: str
) -> None:
    from relay.dns import resolver

    class Table(resolver.StaticResolver):
        def __init__(self, *_: object, **__: object) -> None:
            super().__init__({**ZONE, **({name: records} if name else {})})

        async def close(self) -> None: ...

    monkeypatch.setattr(resolver, "Resolver", Table)
    lines = await report(file, offline=False)
    found = [line for what, several in lines.items() if what.startswith("domain acme.example") for line in several]
    assert len(found) == 1, "new.example is not verified, so it is not asked for"
    assert says in found[0].says and mend in found[0].mend
    assert found[0].level == ("ok" if not name else "warn" if records is None else "fail")


async def test_what_the_footers_of_a_tenant_cannot_use(file: Path) -> None:
    assert not any("no footer" in line.says for lines in (await report(file)).values() for line in lines)
    text = file.read_text().replace("contact: abuse@acme.example", "contact: ask Bob\n    language: fi")
    file.write_text(text)
    found = [line for line in (await report(file))["tenant acme"] if "no footer" in line.says]
    assert [line.level for line in found] == ["warn", "warn"]
    assert "no footer in 'fi'" in found[0].says and "'ask Bob'" in found[1].says


@pytest.mark.parametrize(
    ("zone", "level", "says"),
    [
        ({"MX": ["10 mx.platform.example"], "TXT": ["v=spf1 ip4:192.0.2.10 -all"]}, "ok", "MX and SPF are published"),
        ({"TXT": ["v=spf1 ip4:192.0.2.10 -all"]}, "fail", "no MX"),
        ({"MX": ["10 mx.platform.example"]}, "fail", "SPF is none"),
        (None, "warn", "cannot be looked up"),
    ],
)
async def test_how_bounces_find_their_way_back(
    file: Path, monkeypatch: pytest.MonkeyPatch, zone: dict[str, list[str]] | None, level: str, says: str
) -> None:
    from relay.dns import resolver

    class Table(resolver.StaticResolver):
        def __init__(self, *_: object, **__: object) -> None:
            super().__init__({**ZONE, "bounces.platform.example": zone})

        async def close(self) -> None: ...

    monkeypatch.setattr(resolver, "Resolver", Table)
    assert one(await report(file), "feedback of next_hop").level == "warn"
    text = file.read_text().replace("tls: none}\noperator", "tls: none, feedback: verp}\noperator")
    file.write_text(
        text + "feedback: {domain: bounces.platform.example, listen: [{socket: lmtp, protocol: lmtp}],"
        " mailgun: {signing_key_file: acme.pw}}\n"
    )
    lines = await report(file, offline=False)
    told = one(lines, "feedback of next_hop")
    assert told.level == "ok" and "verp" in told.says and "https://mail.platform.example/feedback/mailgun" in told.says
    found = one(lines, "feedback domain bounces.platform.example")
    assert (found.level, says in found.says) == (level, True), found


@asynccontextmanager
async def next_hop(greeting: bytes) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        while line := await reader.readline():
            writer.write(b"250-mta.example\r\n250 PIPELINING\r\n" if line[:4].upper() == b"EHLO" else b"221 Bye\r\n")
            if line[:4].upper() == b"QUIT":
                break
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(("greeting", "level"), [(b"220 mta.example ESMTP\r\n", "ok"), (b"554 go away\r\n", "fail")])
async def test_the_next_hop_is_asked(file: Path, greeting: bytes, level: str) -> None:
    async with next_hop(greeting) as port:
        file.write_text(CONFIG.format(hop=port, dns=closed_port()))
        found = one(await report(file, offline=False), "next hop next_hop")
    assert found.level == level, found
    if level == "fail":
        assert "banner: 554" in found.says


def test_the_command(file: Path) -> None:
    certificate(file.parent, time.time() - DAY, time.time() + 100 * DAY)
    result = CliRunner().invoke(cli, ["doctor", "--config", str(file), "--offline"])
    assert result.exit_code == 0, "warnings are not failures"
    assert "ok    configuration:" in result.stdout
    (file.parent / "acme.pw").unlink()
    result = CliRunner().invoke(cli, ["--config", str(file), "doctor", "--offline", "--json"])
    assert result.exit_code == 1
    lines = json.loads(result.stdout)
    assert {"level", "what", "says", "mend"} == set(lines[0])
    assert CliRunner().invoke(cli, ["doctor"]).exit_code == 2
