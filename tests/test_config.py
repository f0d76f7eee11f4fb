"""The configuration file: what is shown is true, what is wrong is said with its place, secrets stay secret."""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from relay.config import Config, ConfigError, load, parse, split_nameserver
from relay.model import Then
from relay.wiring import own_key
from relay.yaml_marks import Document

ROOT = Path(__file__).parents[1]
SHIPPED = (ROOT / "config/relay.yaml").read_text()
BAD = sorted((ROOT / "tests/bad_configs").glob("*.yaml"))
EXPECT = "# expect: "

MINIMAL = """\
listen:
  - {host: 127.0.0.1, port: 2525, tls: none, auth: none, tenant: acme}
  - {host: 127.0.0.1, port: 2587, tls: starttls, auth: required}
tls: {cert: cert.pem, key: key.pem}
next_hop: {host: 127.0.0.1, port: 25, tls: none, profile: mta}
store: sqlite:///relay.db
operator: {name: Example Platform, from: postmaster@platform.example, abuse: abuse@platform.example}
egress: [192.0.2.10]
tenants:
  acme:
    policy: none
    legal_name: Acme Outreach Ltd
    postal_address: 1 Main Street, Springfield, IL 62701, USA
    contact: abuse@acme.example
    client: standard
    domains: {acme.example: {verified: true, dkim: {by: next-hop, selectors: [s1]}}}
    credentials: {acme-campaigns: {password_file: acme.pw, stream: marketing}}
dns: {nameservers: ["127.0.0.1:5353"]}
http: {public: {host: 127.0.0.1, port: 8025}, admin: {host: 127.0.0.1, port: 8026}, base_url: "https://mail.platform.example"}
"""


def read(text: str, folder: Path = Path("/etc/aup-relay"), *, secrets: bool = False) -> Config:
    return parse(text.encode(), "f", folder=folder, secrets=secrets)


def problems(text: str, folder: Path = Path("/etc/aup-relay"), *, secrets: bool = False) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, folder, secrets=secrets)
    return caught.value.problems


# -- the shipped file ---------------------------------------------------------------------
def test_the_shipped_file_shows_every_setting_and_its_default() -> None:
    """With each comment sign removed the file sets everything and changes nothing."""
    everything = read(re.sub(r"(?m)^#(?=\w|  )", "", SHIPPED))
    assert everything == read(SHIPPED)
    assert unset(everything) == []


def unset(model: BaseModel, path: str = "") -> list[str]:
    missing = [path + name for name in type(model).model_fields if name not in model.model_fields_set]
    for name, value in model:
        for key, inner in nested(value):
            missing += unset(inner, f"{path}{name}.{key}")
    return missing


def nested(value: object) -> list[tuple[str, BaseModel]]:
    if isinstance(value, BaseModel):
        return [("", value)]
    if isinstance(value, dict):
        return [(f"{key}.", inner) for key, inner in value.items() if isinstance(inner, BaseModel)]
    if isinstance(value, tuple):
        return [(f"{i}.", inner) for i, inner in enumerate(value) if isinstance(inner, BaseModel)]
    return []


# -- what is right ---------------------------------------------------------------------------
def test_the_smallest_configuration(tmp_path: Path) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text(MINIMAL)
    config = load(file)
    assert config.store == tmp_path / "relay.db"
    assert config.keys == tmp_path / "relay.db.keys"
    assert config.folder == tmp_path
    assert config.hostname == socket.gethostname()
    assert config.operator.from_address == "postmaster@platform.example"
    assert config.egress == ("192.0.2.10/32",)
    assert (config.limits.message_size, config.limits.verdict_time) == (50 * 1024 * 1024, 20.0)
    assert [listener.name for listener in config.listen] == ["127.0.0.1:2525", "127.0.0.1:2587"]
    [tenant] = config.file_tenants()
    assert (tenant.id, tenant.policy, tenant.from_file) == ("acme", "none", True)
    assert tenant.profile.verified, "a profile in the file is the operator's word"
    assert tenant.domains[0].dkim_by == "next-hop" and tenant.domains[0].selectors == ("s1",)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("20", 20.0), ("20s", 20.0), ("1.5m", 90.0), ("4h", 14400.0), ("2d", 172800.0), ("500ms", 0.5)],
)
def test_times(written: str, seconds: float) -> None:
    assert read(f"{MINIMAL}limits: {{pace: {written}}}\n").limits.pace == seconds


@pytest.mark.parametrize(
    ("written", "octets"), [("4096", 4096), ("64KiB", 65536), ("2 MiB", 2 << 20), ("1GiB", 1 << 30)]
)
def test_sizes(written: str, octets: int) -> None:
    assert read(f"{MINIMAL}limits: {{message_size: {written}}}\n").limits.message_size == octets


def test_paths_start_at_the_folder_of_the_file() -> None:
    config = read(MINIMAL.replace("cert: cert.pem", "cert: /srv/cert.pem"), Path("/opt/relay"))
    assert config.tls is not None
    assert (config.tls.cert, config.tls.key) == (Path("/srv/cert.pem"), Path("/opt/relay/key.pem"))
    assert read(MINIMAL.replace("sqlite:///relay.db", "sqlite:////var/lib/r.db")).store == Path("/var/lib/r.db")


def test_a_network_is_kept_in_one_form_and_proxy_true_means_networks() -> None:
    more = "auth: required, networks: ['2001:DB8::/32', 10.0.0.1], proxy: true"
    config = read(MINIMAL.replace("auth: required", more))
    assert config.listen[1].networks == config.listen[1].proxy == ("2001:db8::/32", "10.0.0.1/32")


def test_a_domain_is_read_in_its_one_form() -> None:
    config = read(MINIMAL.replace("acme.example: {verified", "BÜCHER.example: {verified"))
    assert config.file_tenants()[0].domains[0].name == "xn--bcher-kva.example"


def test_an_override_ends_with_its_day() -> None:
    text = MINIMAL.replace(
        "    client: standard\n",
        "    client: standard\n    overrides: {loop: {then: record, max: 9, reason: r, by: b, until: 2031-05-01}}\n",
    )
    # Whether the settings fit is for the policy to say, which has this check or not.
    [override] = parse_tenant(text)
    assert override.until == datetime(2031, 5, 2, tzinfo=UTC).timestamp()
    assert (override.then, dict(override.settings)) == (Then.RECORD, {"max": 9})


def parse_tenant(text: str):  # type: ignore[no-untyped-def]
    document = Document.read(text.encode(), "f")
    config = document.check_partly(Config, {}, {"folder": Path("/")})
    assert config is not None
    return config.file_tenants()[0].overrides


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1", ("127.0.0.1", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
    ],
)
def test_name_servers(text: str, place: tuple[str, int]) -> None:
    assert split_nameserver(text) == place


# -- what is wrong -------------------------------------------------------------------------------
@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_a_wrong_file_is_refused_with_its_line(path: Path) -> None:
    text = path.read_text()
    expected = [line.removeprefix(EXPECT) for line in text.splitlines() if line.startswith(EXPECT)]
    assert expected, "a fixture says what it expects"
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), "f", folder=path.parent)
    assert str(caught.value).splitlines() == expected


def test_nothing_secret_is_shown() -> None:
    for path in BAD:
        with pytest.raises(ConfigError) as caught:
            parse(path.read_bytes(), "f", folder=path.parent)
        assert "hunter2" not in str(caught.value)
        assert "12345678" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"relay\.yaml: cannot be read: No such file"):
        load(tmp_path / "relay.yaml")


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (b"listen: \xff\n", "f:1:9: not UTF-8 text"),
        (b"listen:\n  \x00", "f:2:3: a control character (#x00)"),
        (b"[" * 500, "f:1:1: nested too deeply"),
        (b"a: &a [*a]\n", "f:1:4: a.0: an alias that holds itself"),
        (b"a: 1\n---\nb: 2\n", "f:2:1: not YAML: a second document (---) in one file"),
        (b'hostname: "\\ud800"\n', "f:1:11: hostname: half a character (a lone surrogate)"),
        (
            b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
            + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 9)),
            "too many values",
        ),
    ],
    ids=["utf8", "nul", "deep", "alias", "documents", "surrogate", "bomb"],
)
def test_hostile_yaml_is_a_problem_not_a_crash(octets: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(octets, "f", folder=Path("/"))
    assert any(message in line for line in caught.value.problems)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text("abl:-[]{}&*!|>'\"#%@,? \n\t0123", max_size=120).map(str.encode))
def test_any_octets_are_read_or_refused(octets: bytes) -> None:
    document = Document.read(octets, "f")
    for line in document.lines():
        assert re.match(r"f:\d+:\d+: ", line), "every problem has its place"
        assert line.isprintable()


# -- secrets ----------------------------------------------------------------------------------------
def pem(folder: Path, cert: str, key: str) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay.example")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2040, 1, 1, tzinfo=UTC))
        .sign(private, hashes.SHA256())
    )
    (folder / cert).write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / key).write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def test_secrets_are_opened_only_when_asked(tmp_path: Path) -> None:
    assert read(MINIMAL, tmp_path).tenants
    assert problems(MINIMAL, tmp_path, secrets=True) == [
        "f:4:13: tls.cert: cannot be read: No such file or directory",
        "f:17:51: tenants.acme.credentials.acme-campaigns.password_file: cannot be read: No such file or directory",
    ]


def test_a_key_that_does_not_belong_to_the_certificate(tmp_path: Path) -> None:
    (tmp_path / "acme.pw").write_text("x\n")
    pem(tmp_path, "cert.pem", "other.pem")
    pem(tmp_path, "other_cert.pem", "key.pem")
    assert problems(MINIMAL, tmp_path, secrets=True) == ["f:4:28: tls.key: the key does not belong to the certificate"]
    pem(tmp_path, "cert.pem", "key.pem")
    assert read(MINIMAL, tmp_path, secrets=True).tls


def test_a_password_becomes_a_hash_that_stays_over_a_reload(tmp_path: Path) -> None:
    from argon2 import PasswordHasher

    (tmp_path / "acme.pw").write_text("correct horse\nnot the password\n")
    [credential] = read(MINIMAL, tmp_path).file_credentials()
    assert credential.password_hash is not None
    assert PasswordHasher().verify(credential.password_hash, "correct horse")
    assert read(MINIMAL, tmp_path).file_credentials() == [credential]
    (tmp_path / "acme.pw").write_text(credential.password_hash + "\n")
    assert read(MINIMAL, tmp_path).file_credentials() == [credential], "a hash is taken as it is"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the first line is empty"),
        (b"\nsecret\n", "the first line is empty"),
        (b"\xff\xfe\n", "the first line is not UTF-8 text"),
        (b"$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA\n", "only $argon2id$v=19$ hashes are taken"),
    ],
)
def test_a_password_file_that_holds_no_password(tmp_path: Path, content: bytes, what: str) -> None:
    pem(tmp_path, "cert.pem", "key.pem")
    (tmp_path / "acme.pw").write_bytes(content)
    [line] = problems(MINIMAL, tmp_path, secrets=True)
    assert line.endswith(f"password_file: {what}")


def test_dkim_keys(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    text = MINIMAL.replace("{by: next-hop, selectors: [s1]}", "{by: relay, selector: s1, key_file: dkim.pem}")
    (tmp_path / "acme.pw").write_text("x\n")
    pem(tmp_path, "cert.pem", "key.pem")

    def write(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
        (tmp_path / "dkim.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    assert "key_file: cannot be read" in problems(text, tmp_path, secrets=True)[0]
    (tmp_path / "dkim.pem").write_text("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n")
    assert "not a private key in PEM form" in problems(text, tmp_path, secrets=True)[0]
    write(ec.generate_private_key(ec.SECP256R1()))
    assert "RSA and Ed25519 keys only" in problems(text, tmp_path, secrets=True)[0]
    write(ed25519.Ed25519PrivateKey.generate())
    [tenant] = read(text, tmp_path, secrets=True).file_tenants()
    assert isinstance(tenant.domains[0].key, ed25519.Ed25519PrivateKey)
    [tenant] = read(text, tmp_path).file_tenants(keys=False)
    assert tenant.domains[0].key is None and tenant.domains[0].dkim_by == "relay"


def test_several_dkim_keys(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    ours = "{by: relay, keys: [{selector: e1, key_file: e.pem}, {selector: r1, key_file: r.pem}]}"
    text = MINIMAL.replace("{by: next-hop, selectors: [s1]}", ours)
    text = text.replace("abuse: abuse@platform.example}", f"abuse: abuse@platform.example, dkim: {ours}}}")
    (tmp_path / "acme.pw").write_text("x\n")
    pem(tmp_path, "cert.pem", "key.pem")
    made = {"e.pem": ed25519.Ed25519PrivateKey.generate(), "r.pem": rsa.generate_private_key(65537, 2048)}
    for name, key in made.items():
        (tmp_path / name).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    config = read(text, tmp_path, secrets=True)
    [tenant] = config.file_tenants()
    [domain] = tenant.domains
    assert [signer.selector for signer in domain.signers] == ["r1", "e1"]  # RSA first
    own = own_key(config)
    assert own is not None and [signer.selector for signer in own.signers] == ["r1", "e1"]
    [tenant] = read(text, tmp_path).file_tenants(keys=False)
    assert tenant.domains[0].signers == () and tenant.domains[0].selectors == ("e1", "r1")
    (tmp_path / "r.pem").unlink()
    places = [problem.split(": ")[1] for problem in problems(text, tmp_path, secrets=True)]
    assert places == ["operator.dkim.keys.1.key_file", "tenants.acme.domains.acme.example.dkim.keys.1.key_file"]
