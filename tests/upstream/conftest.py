"""Everything here runs on both event loops: they differ in when they call and in what they refuse."""

import asyncio
import datetime
import ipaddress
import ssl

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from relay.smtp.upstream import Hop, HopSettings


def pytest_asyncio_loop_factories(config, item):
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def relay(faulty_hop):
    """`server, hop = await relay({"MAIL": b"451 no"})`: the faulty server, and our Hop that talks to it (.events)."""
    hops = []

    async def start(answers=None, *, server=None, known=None, remember=None, hostname="relay.example", **settings):
        of_server = {name: settings.pop(name) for name in ("offers", "context", "implicit") if name in settings}
        if "context" in of_server:
            of_server["tls"] = of_server.pop("context")
        server = server or await faulty_hop(answers, **of_server)
        emitted = []
        settings = {"name": "mx", "host": "127.0.0.1", "port": server.port, **settings}
        hop = Hop(
            HopSettings(**settings),
            hostname=hostname,
            emit=emitted.append,
            offers=known,
            remember=remember,
        )
        hop.events = emitted
        hops.append(hop)
        return server, hop

    yield start
    for hop in hops:
        await hop.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A folder with ca.pem, and server.pem and server.key for mx.example and 127.0.0.1, signed by it."""
    folder = tmp_path_factory.mktemp("certificates")
    now = datetime.datetime.now(datetime.UTC)

    def certificate(name, key, issuer, issuer_key, *extensions):
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def named(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = named("test authority")
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    (folder / "ca.pem").write_bytes(certificate(ca, ca_key, ca, ca_key, constraints, usage, identifier))
    names = x509.SubjectAlternativeName([x509.DNSName("mx.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    (folder / "server.pem").write_bytes(certificate(named("mx.example"), key, ca, ca_key, names, authority))
    (folder / "server.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder


@pytest.fixture
def server_tls(certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    return context
