"""Signatures that came with a message: dkimpy and we sign, relay/dns/dkim.py verifies."""

import base64
import gc
import time

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from relay import replies
from relay.dns import dkim
from relay.dns.authentication import DomainAuthentication, Unasked
from relay.dns.resolver import StaticResolver
from relay.message import Message
from relay.message.sign import sign_all
from relay.model import Signer
from relay.ports import Unavailable

from relay.outgoing import SIGNED  # isort: skip

RSA = generate_private_key(65537, 2048)
ED25519 = Ed25519PrivateKey.generate()
PEM = RSA.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
NOW = 1_767_225_600


def spki(key, format=PublicFormat.SubjectPublicKeyInfo):
    return base64.b64encode(key.public_key().public_bytes(Encoding.DER, format)).decode()


ED_TEXT = base64.b64encode(ED25519.public_key().public_bytes_raw()).decode()
KEY = f"v=DKIM1; k=rsa; p={spki(RSA)}"
ZONE = {
    "s1._domainkey.acme.example": {"TXT": [KEY]},
    "ed._domainkey.acme.example": {"TXT": [f"v=DKIM1; k=ed25519; p={ED_TEXT}"]},
    "gone._domainkey.acme.example": {"TXT": ["v=DKIM1; p="]},
    "down._domainkey.acme.example": None,
}
MESSAGE = (
    b"From: Acme <news@acme.example>\r\nTo: jane@example.net\r\nSubject: A  long\r\n  subject \r\n"
    b"List-Unsubscribe: <https://acme.example/u>\r\n\r\nHello \t Jane,\r\n\r\n  bye \r\n\r\n\r\n"
)


def field(message, selector="s1", key=RSA, headers=SIGNED["mta"], now=NOW):
    parsed = Message.parse(message)
    return sign_all([message], parsed, "acme.example", [Signer(selector, key)], headers, now)


def ours(message=MESSAGE, selector="s1", key=RSA, headers=SIGNED["mta"], now=NOW):
    return field(message, selector, key, headers, now) + message


def theirs(message=MESSAGE, selector=b"s1", canonicalize=(b"relaxed", b"simple"), **more):
    return dkimpy.sign(message, selector, b"acme.example", PEM, canonicalize=canonicalize, **more) + message


async def verify(message, zone=ZONE, now=NOW):
    return await dkim.verify(message, StaticResolver(zone), now)


async def one(message, zone=ZONE, now=NOW):
    [signature] = await verify(message, zone, now)
    return signature


@pytest.mark.parametrize(
    "message",
    [
        ours(),
        ours(selector="ed", key=ED25519),
        *(theirs(canonicalize=(h, b)) for h in (b"simple", b"relaxed") for b in (b"simple", b"relaxed")),
    ],
    ids=["ours", "ed25519", "simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"],
)
async def test_valid(message):
    now = time.time() if b"t=1767225600" not in message else NOW
    signature = await one(message, now=now)
    assert (signature.domain, signature.valid, signature.why) == ("acme.example", True, "")
    assert "from" in signature.headers


async def test_the_list_of_fields_is_kept():
    assert {"list-unsubscribe", "list-unsubscribe-post"} <= set((await one(ours())).headers)


async def test_a_key_in_the_older_form():
    zone = {"s1._domainkey.acme.example": {"TXT": [f"p={spki(RSA, PublicFormat.PKCS1)}"]}}
    assert (await one(ours(), zone)).valid


async def test_a_record_in_several_strings_and_with_blanks():
    text = spki(RSA)
    zone = {"s1._domainkey.acme.example": {"TXT": [f"k=rsa; h=sha1:sha256 ; s=*; t=y:s; p={text[:90]} {text[90:]} ;"]}}
    signature = await one(ours(), zone)
    assert signature.valid and signature.why == "the key is marked as a test"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"Hello", b"Hallo", "the body was changed"),
        (b"A  long", b"Another", "the header was changed, or the key is another one"),
        (b"From: Acme", b"From: x@bank.example\r\nFrom: Acme", "the header was changed, or the key is another one"),
        (b"v=1;", b"v=2;", "v= is not 1"),
        (b"a=rsa-sha256", b"a=rsa-sha1", "SHA-1 no longer counts (RFC 8301)"),
        (b"a=rsa-sha256", b"a=rsa-md5", "a= is unknown"),
        (b"a=rsa-sha256", b"a=ed25519-sha256", "the key is of another kind than the signature"),
        (b"c=relaxed/relaxed", b"c=nofws", "c= is unknown"),
        (b"d=acme.example", b"d=acme..example", "d= is not a domain"),
        (b"d=acme.example", b"d=<script>", "d= is not a domain"),
        (b"d=acme.example;", b"", "d= is missing"),
        (b"s=s1", b"s=../s1", "s= is not a selector"),
        (b"s=s1", b"s=none", "no key is published"),
        (b"s=s1", b"s=gone", "the key is revoked"),
        (b"s=s1", b"s=s1; i=@other.example", "i= is not within d="),
        (b"s=s1", b"s=s1; q=http", "q= is unknown"),
        (b"s=s1", b"s=s1; l=9999", "l= is more than the body has"),
        (b"s=s1", b"s=s1; l=-1", "l= is not a number"),
        (b"s=s1", b"s=s1; s=s2", "the field is malformed"),
        (b"s=s1", b"s=s1; t=9999999999", "the field is malformed"),
        (b"t=1767225600", b"t=9999999999", "it was signed in the future"),
        (b"t=1767225600", b"t=tomorrow", "t= is not a number"),
        (b"t=1767225600", b"t=1767225600; x=1767225500", "x= is not after t="),
        (b"t=1767225600", b"t=1767220000; x=1767225500", "it has expired"),
        (b"h=from:from:", b"h=", "From is not signed"),
        (b"bh=", b"bh=!", "bh= is not base64"),
        (b"\tb=", b"\tb=*", "b= is not base64"),
    ],
)
async def test_not_valid_and_why(old, new, why):
    message = ours()
    assert old in message
    signature = await one(message.replace(old, new, 1))
    assert signature.valid is False
    assert signature.why == why


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ("v=DKIM2; p=AA", "the key record is of another version"),
        ("hello", "the key record is malformed"),
        ("v=DKIM1; k=rsa", "the key record has no key"),
        ("v=DKIM1; p=AAAA", "the key cannot be read"),
        ("v=DKIM1; p=*", "the key is not base64"),
        ("v=DKIM1; k=dsa; p=AAAA", "the key is of an unknown kind"),
        ("v=DKIM1; k=ed25519; p=AAAA", "the key cannot be read"),
        (KEY.replace("k=rsa", "k=rsa; h=sha1"), "the key is not for SHA-256"),
        (KEY.replace("k=rsa", "k=rsa; s=tlsrpt"), "the key is not for mail"),
        ("p=" + spki(ec.generate_private_key(ec.SECP256R1())), "the key is of another kind than it says"),
        (f"v=DKIM1; p={spki(generate_private_key(65537, 1024))}", "the header was changed, or the key is another one"),
        ("v=DKIM1; p=" + "A" * 20_000, "the key record is too long"),
    ],
)
async def test_keys_that_do_not_do(record, why):
    signature = await one(ours(), {"s1._domainkey.acme.example": {"TXT": [record]}})
    assert (signature.valid, signature.why) == (False, why)


async def test_a_short_key_does_not_count():
    """A modulus of 512 bits, written down here because libraries no longer make such keys."""
    record = (
        "k=rsa; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAMu8Y9tS1SjTqRlk2wdE3vGvFxTTpfpbXGhpNPRPbTbvHfN5"
        "kVpAvvxW4sCQAhGvyJ1Yy3rAd4ZgPwMCVNrJUGsCAwEAAQ=="
    )
    signature = await one(ours(), {"s1._domainkey.acme.example": {"TXT": [record]}})
    assert signature.valid is False and signature.why == "the key has 512 bits, less than 1024"


async def test_another_record_beside_the_key_does_no_harm():
    zone = {"s1._domainkey.acme.example": {"TXT": ["v=spf1 -all", KEY]}}
    assert (await one(ours(), zone)).valid


async def test_a_length_is_noted():
    message = theirs(length=True) + b"an advertisement\r\n"
    signature = await one(message, now=time.time())
    assert signature.valid and signature.why.startswith("l= covers ")


async def test_a_second_author_that_is_not_signed():
    message = b"From: x@bank.example\r\n" + ours(headers=("from", "subject"))
    assert (await one(message)).why == "there is a From that is not signed"


class TestTrouble:
    async def test_a_key_that_cannot_be_fetched_is_not_missing(self):
        with pytest.raises(Unavailable):
            await verify(ours(selector="down"))

    async def test_another_valid_signature_answers_the_question(self):
        inner = ours()
        message = field(inner, "down") + inner
        down, good = await verify(message)
        assert down.valid is None and down.why.startswith("dns:")
        assert good.valid is True

    async def test_another_invalid_signature_does_not(self):
        inner = ours().replace(b"bh=", b"bh=!", 1)
        with pytest.raises(Unavailable):
            await verify(field(inner, "down") + inner)


class TestHostile:
    @pytest.mark.parametrize(
        "message",
        [
            b"",
            b"\r\n",
            b"DKIM-Signature:",
            b"DKIM-Signature: v=1\r\n",
            b"DKIM-Signature: \xff\xfe=\xff; v=1\r\n\r\n",
            b"DKIM-Signature: v=1; v=1\r\n\r\nx",
            b" DKIM-Signature: folded first\r\n\r\nx",
            b"no colon\r\nDKIM-Signature: =;=;;;\r\n\r\nx",
            b"DKIM-Signature : v=1; a=rsa-sha256; b=; bh=; d=; s=; h=\r\n\r\nx",
            b"dkim-signature: " + b"a=" * 300_000 + b"\r\n\r\nx",
            b"DKIM-Signature: " + b"\r\n ".join([b"b"] * 5000) + b"\r\n\r\nx",
            b"X: y\r\n" * 200_000 + b"DKIM-Signature: v=1\r\n\r\nx",
        ],
    )
    async def test_headers(self, message):
        assert not any(signature.valid for signature in await verify(message))

    async def test_blanks_in_the_field_cost_no_time(self):
        message = ours().replace(b"\tb=", b"\tb" + b"\r\n " * 4500 + b"=", 1)
        [signature] = await verify(message)
        assert signature.valid is False  # and not after minutes

    async def test_a_long_list_of_names_costs_no_time(self):
        names = b":".join(b"n%d" % n for n in range(4000))
        message = b"x:y\r\n" * 20_000 + ours().replace(b"h=from", b"h=" + names[:12_000] + b":from", 1)
        [signature] = await verify(message)
        assert signature.valid is False

    async def test_many_signatures_are_not_all_verified(self):
        message = MESSAGE
        for _ in range(12):
            message = field(message, headers=("from",)) + message
        assert len(await verify(message)) == dkim.MOST

    @settings(max_examples=150, deadline=None)
    @given(text=st.binary(max_size=60), at=st.integers(0, 700), cut=st.integers(0, 20))
    async def test_noise_never_raises_and_is_never_valid_by_chance(self, text, at, cut):
        message = ours()
        noisy = message[:at] + text + message[at + cut :]
        for signature in await verify(noisy):
            assert signature.valid is not None
            assert signature.why.isascii() and signature.domain.isascii()


class TestMessages:
    async def test_verified_once(self):
        class Counting(StaticResolver):
            asked = 0

            async def resolve(self, name, type):
                self.asked += 1
                return await super().resolve(name, type)

        dns = Counting(ZONE)
        authentication = DomainAuthentication(dns, clock=lambda: NOW)
        message = Message.parse(ours())
        first = await authentication.signatures(message)
        assert await authentication.signatures(message) is first and first[0].valid
        assert dns.asked == 1
        del message, first
        gc.collect()
        assert not authentication._verified  # it goes with its message

    async def test_trouble_has_its_reply(self):
        authentication = DomainAuthentication(StaticResolver(ZONE), clock=lambda: NOW)
        with pytest.raises(Unavailable) as caught:
            await authentication.signatures(Message.parse(ours(selector="down")))
        assert caught.value.reply is replies.AUTHENTICATION_TROUBLE

    async def test_a_large_message_is_hashed_beside_the_loop(self):
        message = ours(MESSAGE + b"line \t with blanks  \r\n" * 50_000)
        signature = await one(message)
        assert signature.valid

    async def test_offline_it_is_read_and_not_verified(self):
        [signature] = await Unasked(lambda: NOW).signatures(Message.parse(ours()))
        assert signature.valid is None and "list-unsubscribe" in signature.headers
        [signature] = await Unasked(lambda: NOW).signatures(Message.parse(ours().replace(b"v=1;", b"v=2;", 1)))
        assert signature.valid is False


@pytest.mark.parametrize(("selector", "known"), [("s1", True), ("ed", True), ("gone", False), ("none", False)])
async def test_published(selector, known):
    authentication = DomainAuthentication(StaticResolver(ZONE))
    assert await authentication.published(selector, "acme.example") is known


async def test_published_during_an_outage():
    with pytest.raises(Unavailable):
        await DomainAuthentication(StaticResolver(ZONE)).published("down", "acme.example")
