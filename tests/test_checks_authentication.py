"""The checks that ask the DNS: what they find in a mail, over a table of records."""

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from relay import replies
from relay.address import parse
from relay.checks import dkim, dmarc_aligned, recipient_domain, sender_domain_resolves, spf
from relay.dns.authentication import DomainAuthentication
from relay.dns.resolver import StaticResolver
from relay.message import Message
from relay.message.sign import sign_all
from relay.model import PASSED, Domain, Envelope, Mail, Profile, Recipient, Session, Signer, Tenant
from relay.outgoing import Outgoing
from relay.ports import Tools, Unavailable

NOW = 1_767_225_600
KEY = Ed25519PrivateKey.generate()
PUBLIC = "v=DKIM1; k=ed25519; p=" + base64.b64encode(KEY.public_key().public_bytes_raw()).decode()

ZONE = {
    "acme.example": {"MX": ["10 mx.acme.example"], "TXT": ["v=spf1 ip4:192.0.2.10 -all"]},
    "s1._domainkey.acme.example": {"TXT": [PUBLIC]},
    "_dmarc.acme.example": {"TXT": ["v=DMARC1; p=none"]},
    "other.example": {"A": ["192.0.2.1"], "TXT": ["v=spf1 -all"]},
    "s1._domainkey.other.example": {"TXT": [PUBLIC]},
    "six.example": {"AAAA": ["2001:db8::1"]},
    "nomail.example": {"MX": ["0 ."]},
    "odd.example": {"MX": ["0 .", "10 mx.odd.example"]},
    "empty.example": {"TXT": ["hello"]},
    "down.example": None,
    "down._domainkey.acme.example": None,
}


def mail(sender="news@acme.example", recipient="jane@example.net", author="news@acme.example", dkim_by=None, **more):
    """A mail of a tenant that owns acme.example."""
    selectors = more.pop("selectors", ("s1",))
    signed = more.pop("signed", ())
    domain = Domain("acme.example", "acme", verified=True, dkim_by=dkim_by, selector="s1", selectors=selectors)
    tenant = Tenant("acme", "prospektr", Profile(), domains=(domain,))
    envelope = Envelope("r" * 26, NOW, tenant, "marketing", parse(sender) if sender else None)
    raw = f"From: <{author}>\r\nSubject: Hello\r\n\r\nText\r\n".encode()
    for signer, selector in signed:
        message = Message.parse(raw)
        raw = sign_all([raw], message, signer, [Signer(selector, KEY)], ("from", "subject"), NOW) + raw
    raw = more.pop("change", lambda raw: raw)(raw)
    message = Message.parse(raw)
    return Mail(NOW, Session("s", "192.0.2.99", "l"), envelope, Recipient(parse(recipient)), message=message)


def tools(egress=("192.0.2.10",), zone=None, **more):
    dns = StaticResolver({**ZONE, **(zone or {})})
    return Tools(dns, DomainAuthentication(dns, egress, clock=lambda: NOW, **more), quotas=None)


async def judge(module, mail, tools, **settings):
    """What a check found: (reply, what it saw), or None."""
    evidence = await module.run(mail, module.CHECK.settings(**settings), tools)
    if evidence is None:
        return None
    assert all(isinstance(value, (str, int, float, bool)) for value in evidence.seen.values())
    assert all(key in module.__doc__ for key in evidence.seen), "each key of the evidence is documented"
    return (evidence.reply or module.CHECK.reply, dict(evidence.seen))


class TestSenderDomainResolves:
    @pytest.mark.parametrize(
        ("sender", "reply", "found"),
        [
            ("a@acme.example", None, None),
            ("a@other.example", None, None),
            ("a@six.example", None, None),
            ("a@odd.example", None, None),
            ("a@nowhere.example", replies.SENDER_NO_DOMAIN, "no-such-domain"),
            ("a@empty.example", replies.SENDER_NO_DOMAIN, "no-mx-and-no-address"),
            ("a@nomail.example", replies.SENDER_NULL_MX, "null-mx"),
            ("", None, None),
            ("a@[192.0.2.1]", None, None),
        ],
    )
    async def test_table(self, sender, reply, found):
        result = await judge(sender_domain_resolves, mail(sender), tools())
        expected = reply and (reply, {"domain": sender.partition("@")[2], "found": found})
        assert result == expected

    async def test_dns_trouble(self):
        with pytest.raises(Unavailable) as caught:
            await judge(sender_domain_resolves, mail("a@down.example"), tools())
        assert caught.value.reply is replies.DNS_TROUBLE


class TestRecipientDomain:
    @pytest.mark.parametrize(
        ("recipient", "reply"),
        [
            ("jane@acme.example", None),
            ("jane@other.example", None),
            ("jane@nowhere.example", replies.NO_SUCH_DOMAIN),
            ("jane@empty.example", replies.NO_SUCH_DOMAIN),
            ("jane@nomail.example", replies.RECIPIENT_NULL_MX),
            ("jane@[192.0.2.1]", None),
        ],
    )
    async def test_table(self, recipient, reply):
        result = await judge(recipient_domain, mail(recipient=recipient), tools())
        assert (result and result[0]) == reply

    async def test_dns_trouble(self):
        with pytest.raises(Unavailable) as caught:
            await judge(recipient_domain, mail(recipient="jane@down.example"), tools())
        assert caught.value.reply is replies.DNS_TROUBLE


class TestSpf:
    async def test_pass(self):
        assert await judge(spf, mail(), tools()) is None

    async def test_one_address_that_does_not_pass_is_named(self):
        reply, seen = await judge(spf, mail(), tools(egress=("192.0.2.10/31",)))
        assert reply is replies.SPF_FAIL
        assert (seen["domain"], seen["result"], seen["egress"]) == ("acme.example", "fail", "192.0.2.11")

    async def test_no_record(self):
        assert (await judge(spf, mail("a@empty.example"), tools()))[1]["result"] == "none"

    @pytest.mark.parametrize("sender", ["", "a@[192.0.2.1]"])
    async def test_nothing_to_judge(self, sender):
        assert await judge(spf, mail(sender), tools()) is None

    async def test_without_egress_nothing_is_found_and_coverage_can_say_so(self):
        assert await judge(spf, mail("a@other.example"), tools(egress=())) is None
        assert "egress" in spf.CHECK.needs

    async def test_the_next_hops_own_envelope_domain(self):
        zone = {"bounce.hop.example": {"TXT": ["v=spf1 -all"]}}
        _, seen = await judge(spf, mail(), tools(zone=zone, envelope_domain="bounce.hop.example"))
        assert seen["domain"] == "bounce.hop.example"

    async def test_dns_trouble(self):
        with pytest.raises(Unavailable) as caught:
            await judge(spf, mail("a@down.example"), tools())
        assert caught.value.reply is replies.SPF_TROUBLE


class TestDkim:
    @pytest.mark.parametrize(
        "mail",
        [
            mail(dkim_by="relay"),
            mail(dkim_by="relay", author="a@sub.acme.example"),
            mail(dkim_by="next-hop"),
            mail(dkim_by="next-hop", selectors=("none", "s1")),
            mail(dkim_by="client", signed=[("acme.example", "s1")]),
            mail(signed=[("acme.example", "s1")]),
            mail(signed=[("acme.example", "s1"), ("other.example", "s1")]),
            mail(author="a@sub.acme.example", signed=[("acme.example", "s1")]),
            mail(dkim_by="next-hop", selectors=("none",), signed=[("acme.example", "s1")]),
            mail(dkim_by="next-hop", selectors=("down",), signed=[("acme.example", "s1")]),
        ],
        ids=[
            *("relay", "relay, sub-domain", "next hop", "one of its selectors", "client", "client, undeclared"),
            *("second signature", "client, sub-domain", "client besides", "client during trouble"),
        ],
    )
    async def test_signed(self, mail):
        assert await judge(dkim, mail, tools()) is None

    @pytest.mark.parametrize(
        ("mail", "count", "why"),
        [
            (mail(), 0, "no signature, and nobody adds one"),
            (mail(dkim_by="client"), 0, "no signature, and nobody adds one"),
            (mail(signed=[("other.example", "s1")]), 1, "d=other.example s=s1: not of the From domain"),
            (mail(signed=[("acme.example", "s2")]), 1, "d=acme.example s=s2: no key is published"),
            (
                mail(signed=[("acme.example", "s1")], change=lambda raw: raw.replace(b"Text", b"Test")),
                1,
                "d=acme.example s=s1: the body was changed",
            ),
            (
                mail(dkim_by="next-hop", selectors=("none", "nil")),
                0,
                "the next hop is declared to sign, but no key of acme.example is published at: none, nil",
            ),
            (mail(author="a@other.example", dkim_by="relay"), 0, "no signature, and nobody adds one"),
        ],
    )
    async def test_not_signed_and_why(self, mail, count, why):
        reply, seen = await judge(dkim, mail, tools())
        assert reply is replies.DKIM_MISSING
        assert (seen["signatures"], seen["why"]) == (count, why)

    async def test_each_author_wants_one(self):
        two = mail(author="a@acme.example>, <b@other.example", dkim_by="relay")
        _, seen = await judge(dkim, two, tools())
        assert seen["domain"] == "other.example"
        two = mail(author="a@acme.example>, <b@other.example", dkim_by="relay", signed=[("other.example", "s1")])
        assert await judge(dkim, two, tools()) is None

    async def test_a_sub_domain_that_is_an_organisation_of_its_own(self):
        zone = {"_dmarc.sub.acme.example": {"TXT": ["v=DMARC1; p=none; psd=n"]}}
        below = mail(author="a@sub.acme.example", dkim_by="relay")
        _, seen = await judge(dkim, below, tools(zone=zone))
        assert "another organisation" in seen["why"]

    @pytest.mark.parametrize(
        "mail",
        [
            mail(signed=[("acme.example", "down")]),
            mail(dkim_by="next-hop", selectors=("none", "down")),
            mail(signed=[("acme.example", "down"), ("other.example", "s1")]),
        ],
        ids=["client", "next hop", "a valid one beside, of another domain"],
    )
    async def test_dns_trouble(self, mail):
        with pytest.raises(Unavailable) as caught:
            await judge(dkim, mail, tools())
        assert caught.value.reply is replies.AUTHENTICATION_TROUBLE


class TestDmarcAligned:
    @pytest.mark.parametrize(
        ("mail", "zone"),
        [
            (mail(dkim_by="relay"), {}),
            (mail(), {}),  # by SPF
            (mail(sender="a@sub.acme.example"), {"sub.acme.example": {"TXT": ["v=spf1 ip4:192.0.2.10 -all"]}}),
            (mail(sender="a@other.example", signed=[("acme.example", "s1")]), {}),
            (mail(sender="a@other.example", dkim_by="next-hop"), {}),
            (mail(sender="", dkim_by="relay"), {}),
            (mail(author="a@sub.acme.example"), {}),
        ],
        ids=["relay", "spf", "spf, sub-domain", "client", "next hop", "null sender", "sub-domain's author"],
    )
    async def test_passes(self, mail, zone):
        assert await judge(dmarc_aligned, mail, tools(zone=zone)) is None

    async def test_no_record(self):
        reply, seen = await judge(dmarc_aligned, mail(author="a@other.example", dkim_by="relay"), tools())
        assert reply is replies.DMARC_FAIL
        assert seen == {"domain": "other.example", "found": "no-record", "organisational": "other.example"}

    @pytest.mark.parametrize(
        ("mail", "seen_spf"),
        [
            (mail(sender="a@other.example"), "fail"),
            (mail(sender=""), "unknown"),
            (mail(sender="a@other.example", signed=[("other.example", "s1")]), "fail"),
        ],
    )
    async def test_neither_is_aligned(self, mail, seen_spf):
        reply, seen = await judge(dmarc_aligned, mail, tools())
        assert reply is replies.DMARC_FAIL
        assert (seen["found"], seen["spf"], seen["dkim"]) == ("not-aligned", seen_spf, "none")

    async def test_spf_that_passes_for_another_domain_is_not_aligned(self):
        zone = {"other.example": {"TXT": ["v=spf1 ip4:192.0.2.10 -all"]}}
        _, seen = await judge(dmarc_aligned, mail(sender="a@other.example"), tools(zone=zone))
        assert (seen["spf"], seen["spf_domain"]) == ("pass", "other.example")

    async def test_a_rewritten_envelope_is_aligned_by_its_own_domain(self):
        zone = {"bounce.hop.example": {"TXT": ["v=spf1 ip4:192.0.2.10 -all"]}}
        _, seen = await judge(dmarc_aligned, mail(), tools(zone=zone, envelope_domain="bounce.hop.example"))
        assert (seen["spf"], seen["spf_domain"]) == ("pass", "bounce.hop.example")

    @pytest.mark.parametrize(("tag", "mail"), [
        ("adkim=s", mail(sender="", author="a@sub.acme.example", dkim_by="relay")),
        ("aspf=s", mail(author="a@sub.acme.example")),
    ])  # fmt: skip
    async def test_strict(self, tag, mail):
        strict = {"_dmarc.acme.example": {"TXT": [f"v=DMARC1; p=none; {tag}"]}}
        assert await judge(dmarc_aligned, mail, tools()) is None
        assert (await judge(dmarc_aligned, mail, tools(zone=strict)))[1]["found"] == "not-aligned"

    @pytest.mark.parametrize(
        ("mail", "zone", "found"),
        [
            (mail(dkim_by="relay"), {}, None),
            (mail(), {}, "dkim-missing"),
            (mail(sender="a@other.example", dkim_by="relay"), {}, "spf-missing"),
            # SPF aligned, DKIM of somebody else: as large receivers want it
            (mail(signed=[("other.example", "s1")]), {}, None),
            (
                mail(sender="a@other.example", signed=[("other.example", "s1")]),
                {"other.example": {"TXT": ["v=spf1 ip4:192.0.2.10 -all"]}},
                "not-aligned",
            ),
        ],
    )
    async def test_both(self, mail, zone, found):
        result = await judge(dmarc_aligned, mail, tools(zone=zone), require="both")
        assert (result and result[1]["found"]) == found

    async def test_without_egress_dkim_decides_alone(self):
        assert (await judge(dmarc_aligned, mail(), tools(egress=())))[1]["spf"] == "unknown"
        assert await judge(dmarc_aligned, mail(dkim_by="relay"), tools(egress=()), require="both") is None

    @pytest.mark.parametrize(
        ("mail", "zone"),
        [
            (mail(dkim_by="relay"), {"_dmarc.acme.example": None}),
            (mail(sender="", signed=[("acme.example", "down")]), {}),
            (mail(sender="a@other.example", dkim_by="next-hop", selectors=("down",)), {}),
        ],
    )
    async def test_dns_trouble(self, mail, zone):
        with pytest.raises(Unavailable):
            await judge(dmarc_aligned, mail, tools(zone=zone))

    async def test_trouble_with_a_key_does_not_matter_where_spf_is_aligned(self):
        assert await judge(dmarc_aligned, mail(signed=[("acme.example", "down")]), tools()) is None


async def test_no_author_is_no_matter_of_these_checks():
    nobody = mail(change=lambda raw: raw.replace(b"From:", b"X-From:"))
    assert await judge(dkim, nobody, tools()) is None
    assert await judge(dmarc_aligned, nobody, tools()) is None


class TestTheKeyOfTheRelay:
    """dkim takes the relay's signature for granted, so the relay must not send without it."""

    def outgoing(self):
        return Outgoing("mx.platform.example", "i", "full", lambda tenant: "mta")

    async def test_a_key_that_cannot_be_read_is_a_fault_of_ours(self):
        with pytest.raises(Unavailable) as caught:
            await self.outgoing().make(mail(dkim_by="relay"), PASSED)
        assert caught.value.reply is replies.INTERNAL

    async def test_signed_mail_verifies(self):
        sent = mail(dkim_by="relay")
        tenant = sent.tenant
        sent.envelope.tenant = replace(tenant, domains=(replace(tenant.domains[0], key=KEY),))
        raw = b"".join(await self.outgoing().make(sent, PASSED))
        [signature] = await tools().authentication.signatures(Message.parse(raw))
        assert signature.valid and signature.domain == "acme.example"
