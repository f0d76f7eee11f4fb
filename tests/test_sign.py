"""DKIM signatures as a receiver sees them: dkimpy verifies what relay/message/sign.py makes."""

import base64
import mmap
import re
import tempfile

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from dkim.canonicalization import Relaxed, Simple
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.message import sign as signing
from relay.message.edit import splice
from relay.message.mime import Message
from relay.message.sign import is_relaxed, relaxed_body, simple_body
from relay.model import Domain, Signer
from relay.outgoing import SIGNED, signers

RSA = generate_private_key(65537, 2048)
ED25519 = Ed25519PrivateKey.generate()
NOW = 1_767_225_600

MESSAGE = (
    b"Received: from a\r\n\tby b\r\n"
    b"From: Acme <news@acme.example>\r\n"
    b"To: jane@example.net\r\n"
    b"Subject: A  long\r\n  subject \r\n"
    b"Date: Thu, 1 Jan 2026 00:00:00 +0000\r\n"
    b"Message-ID: <1@acme.example>\r\n"
    b"\r\n"
    b"Hello \t Jane,\r\n\r\n  bye \r\n\r\n\r\n"
)


def published(name, timeout=5):
    key = base64.b64encode(RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return b"v=DKIM1; k=rsa; p=" + key


def accepted(message: bytes) -> bool:
    """What a receiver with the RSA key says of the message."""
    return dkim.DKIM(message).verify(dnsfunc=published)


def sign(message, domain="acme.example", selector="s1", key=RSA, headers=SIGNED["mta"], now=NOW, added=b""):
    """The field for a message, before which `added` was put."""
    parsed = Message.parse(message)
    return signing.sign_all(splice(parsed, added), parsed, domain, [Signer(selector, key)], headers, now)


def signed(message: bytes, headers=SIGNED["mta"], key=RSA) -> bytes:
    return sign(message, key=key, headers=headers) + message


def tag(field: bytes, name: str) -> bytes:
    value = re.search(rb"[;:\s]" + name.encode() + rb"=([^;]*)", field)
    return re.sub(rb"\s", b"", value[1])


def test_a_receiver_accepts_the_signature():
    assert accepted(signed(MESSAGE))


def test_the_one_signature_of_ses_is_the_one_that_everybody_verifies():
    rsa, ed25519 = Signer("s1", generate_private_key(65537, 2048)), Signer("s1e", Ed25519PrivateKey.generate())
    for keys in ((rsa, ed25519), (ed25519, rsa)):
        assert signers(Domain("acme.example", "acme", signers=keys), "ses") == (rsa,)
        assert signers(Domain("acme.example", "acme", signers=keys), "mta") == keys
    assert signers(Domain("acme.example", "acme", signers=(ed25519,)), "ses") == (ed25519,)


@pytest.mark.parametrize("profile", ["mta", "ses"])
def test_the_fields_of_both_profiles_are_covered(profile):
    field = sign(MESSAGE, headers=SIGNED[profile])
    names = tag(field, "h").split(b":")
    assert {b"from", b"to", b"subject", b"list-unsubscribe", b"list-unsubscribe-post"} <= set(names)
    assert (b"date" in names) == (profile == "mta")
    assert b"feedback-id" not in names  # not there: the next hop may add it
    assert accepted(field + MESSAGE)


@pytest.mark.parametrize(
    "forged",
    [
        MESSAGE.replace(b"Jane,", b"Joan,"),
        MESSAGE.replace(b"A  long", b"Another"),
        b"From: Other <ceo@bank.example>\r\n" + MESSAGE,
        b"Subject: another\r\n" + MESSAGE,
        b"List-Unsubscribe: <https://evil.example/>\r\n" + MESSAGE,
        MESSAGE + b"appended\r\n",
    ],
    ids=["body", "subject", "second From", "second Subject", "added List-Unsubscribe", "appended"],
)
def test_what_was_changed_or_added_is_not_accepted(forged):
    field = sign(MESSAGE)
    assert accepted(field + MESSAGE)
    assert not accepted_or_error(field + forged)


def accepted_or_error(message: bytes) -> bool:
    try:
        return accepted(message)
    except dkim.DKIMException:
        return False


@pytest.mark.parametrize(
    "travelled",
    [
        MESSAGE.replace(b"Hello \t Jane,", b"Hello Jane,").replace(b"bye \r\n", b"bye\r\n"),
        MESSAGE + b"\r\n\r\n",
        MESSAGE.replace(b"Subject: A  long\r\n  subject \r\n", b"SUBJECT: A long subject\r\n"),
    ],
    ids=["blanks", "empty lines at the end", "refolded"],
)
def test_what_mail_servers_do_to_blanks_is_survived(travelled):
    field = sign(MESSAGE)
    assert accepted(field + travelled)


def test_a_field_that_the_next_hop_adds_is_survived():
    field = sign(MESSAGE, headers=SIGNED["ses"])
    assert accepted(b"Feedback-ID: 1.eu:AmazonSES\r\n" + field + MESSAGE)


def test_ed25519_is_over_the_sha256_of_the_header():
    """dkimpy needs PyNaCl for it, so the field is checked by RFC 8463 section 3 by hand."""
    field = sign(MESSAGE, key=ED25519, headers=("from", "from", "subject"))
    assert tag(field, "a") == b"ed25519-sha256"
    value = re.sub(rb"b=[^;]*\Z", b"b=", field[len("DKIM-Signature:") :])
    headers = [(b"from", b"Acme <news@acme.example>\r\n"), (b"subject", b"A long subject\r\n")]
    headers += [(b"dkim-signature", Relaxed.canonicalize_headers([(b"x", value)])[0][1].rstrip())]
    import hashlib

    data = b"".join(name + b":" + text for name, text in headers)
    ED25519.public_key().verify(base64.b64decode(tag(field, "b")), hashlib.sha256(data).digest())


def test_the_field_is_folded_and_has_no_length_tag():
    field = sign(MESSAGE)
    assert field.endswith(b"\r\n") and max(map(len, field.split(b"\r\n"))) <= 78
    assert all(line[:1] in (b"\t", b"D", b"") for line in field.split(b"\r\n"))
    assert b"l=" not in re.sub(rb"(bh|b)=[^;]*", b"", field)


def test_a_spooled_message_is_signed_from_its_file():
    message = MESSAGE + b"line \t with blanks  \r\n" * 40_000
    with tempfile.TemporaryFile() as file:
        file.write(message)
        file.flush()
        with mmap.mmap(file.fileno(), len(message), access=mmap.ACCESS_READ) as mapped:
            field = sign(mapped, added=b"X-Added: 1\r\n")
    assert accepted(field + b"X-Added: 1\r\n" + message)


@pytest.mark.parametrize(
    "message",
    [
        b"From: a@acme.example\r\n\r\n",
        b"From: a@acme.example\r\n\r\n\r\n\r\n",
        b"From: a@acme.example\r\n\r\n \t\r\n \r\n",
        b"From: a@acme.example\r\n\r\n\r\n\r\ntext\r\n",
        b"From : a@acme.example\r\nSUBJECT:\r\n\tx\r\n\t\r\n\r\ntext\r\n",
        b"From: a@acme.example\r\nSubject:" + b"\r\n " * 3000 + b"x\r\n\r\ntext\r\n",
        b"From: a@acme.example\r\n" + b"To: b@example.net\r\n" * 3000 + b"\r\ntext\r\n",
        b"From: \xe4\xf6@acme.example\r\n\r\n\xff\xfe\r\n",
    ],
    ids=["no body", "empty lines", "blanks", "lines first", "odd names", "folds", "many fields", "octets"],
)
def test_odd_messages(message):
    result = signed(message)
    assert len(result) - len(message) < 2000
    if b"From :" not in message:  # dkimpy takes no blank before the colon
        assert accepted(result)


@pytest.mark.parametrize("message", [b"", b"\r\n", b"\r\ntext\r\n", b"no header at all", b"From: a@b.example"])
def test_what_is_no_message_does_not_raise(message):
    assert sign(message).startswith(b"DKIM-Signature: ")
    assert sign(message, added=b"X-Added: 1\r\n").startswith(b"DKIM-Signature: ")


@pytest.mark.parametrize("added", [b"Date: Thu, 1 Jan 2026 00:00:00 +0000\r\n", b"Message-ID: <2@acme.example>\r\n"])
def test_a_field_that_we_add_is_covered(added):
    message = b"From: a@acme.example\r\n\r\ntext\r\n"
    field = sign(message, added=added)
    assert accepted(field + added + message)
    assert not accepted(field + added.replace(b"2", b"3") + message)


words = st.text("ab \t.-", max_size=12).map(str.encode)
line = st.lists(words, max_size=4).map(b"".join)
lines = st.lists(st.one_of(line, st.just(b""), st.just(b"   ")), max_size=8)
bodies = lines.map(lambda found: b"".join(text + b"\r\n" for text in found))
headers = st.lists(
    st.tuples(
        st.sampled_from([b"From", b"to", b"Subject", b"X-Other", b"List-ID", b"DATE"]),
        st.lists(words, min_size=1, max_size=3).map(b"\r\n ".join),
    ),
    max_size=8,
).map(lambda fields: b"".join(name + b":" + value + b"\r\n" for name, value in fields))


@settings(max_examples=60, deadline=None)
@given(header=headers, body=bodies)
def test_every_shape_is_accepted(header, body):
    message = header + b"From: a@acme.example\r\n\r\n" + body
    field = sign(message)
    assert accepted(field + message)


@settings(max_examples=150, deadline=None)
@given(body=bodies, step=st.integers(1, 9))
def test_canonical_bodies_are_dkimpys_however_they_are_cut(body, step):
    slices = [body[i : i + step] for i in range(0, len(body), step)]
    assert b"".join(relaxed_body(slices)) == Relaxed.canonicalize_body(body)
    assert b"".join(simple_body(slices)) == Simple.canonicalize_body(body)


octets = st.lists(
    st.sampled_from([b"a", b"b=\r\n", b" ", b"  ", b"\t", b"\r\n", b" \r\n", b"\r", b"\n", b"\v", b"\xff"]),
    max_size=10,
).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(body=octets, end=st.sampled_from([b"", b"a\r\n"]))
def test_a_body_that_needs_no_canonical_form_has_none(body, end):
    raw = b"A: b\r\n\r\n" + body + end
    if is_relaxed(raw, 8):
        assert b"".join(relaxed_body([raw[8:]])) == raw[8:] == Relaxed.canonicalize_body(raw[8:])


@pytest.mark.parametrize("body", [b"a\r\n", b"a b\r\n\r\n c=\r\nd\r\n"])
def test_ordinary_bodies_need_none(body):
    assert is_relaxed(b"A: b\r\n\r\n" + body, 8)


def test_a_body_without_a_line_end_gets_one():
    """It has one when the next hop's client sees it (RFC 5321 section 4.1.1.4)."""
    assert b"".join(relaxed_body([b"text \t"])) == b"text\r\n"
    assert b"".join(simple_body([b"text"])) == b"text\r\n"
