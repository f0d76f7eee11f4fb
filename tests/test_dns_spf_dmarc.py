"""SPF for our egress, DMARC's tree walk, and proof of ownership, over a table of records."""

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay import replies
from relay.dns import dmarc, ownership
from relay.dns.authentication import DomainAuthentication
from relay.dns.resolver import StaticResolver
from relay.dns.spf import addresses
from relay.ports import Dmarc, SpfResult, Unavailable


class Counting(StaticResolver):
    """StaticResolver that notes the questions."""

    def __init__(self, zone):
        super().__init__(zone)
        self.asked = []

    async def resolve(self, name, type):
        self.asked.append((name, type))
        return await super().resolve(name, type)


def txt(**records):
    return {name.replace("__", "-").replace("_", "."): {"TXT": [text]} for name, text in records.items()}


TERMS = [
    *("+", "-", "a", "mx", "ptr", "all", "ip4:", "ip6:", "exists:", "include:", "redirect=", "exp=", "%", "%{", "i}"),
    *("%{l1r-}", "/24", "//64", "192.0.2.1", "::1", "x.example", "..", "\u00e9", " ", "long" * 20),
]


class TestSpf:
    @pytest.mark.parametrize(
        ("record", "result", "egress"),
        [
            ("v=spf1 ip4:192.0.2.0/24 -all", "pass", ""),
            ("v=spf1 include:_spf.platform.example -all", "pass", ""),
            ("v=spf1 mx -all", "pass", ""),
            ("v=spf1 redirect=_spf.platform.example", "pass", ""),
            ("v=spf1 ip4:192.0.2.10 -all", "fail", "192.0.2.11"),
            ("v=spf1 ip4:198.51.100.0/24 ~all", "softfail", "192.0.2.10"),
            ("v=spf1 ?all", "neutral", "192.0.2.10"),
            ("v=spf1 ip4:not-an-address -all", "permerror", "192.0.2.10"),
            ("v=spf1 include:nowhere.example -all", "permerror", "192.0.2.10"),
            ("v=spf1 " + "a:x.example " * 11, "permerror", "192.0.2.10"),
            ("v=spf1 include:acme.example -all", "permerror", "192.0.2.10"),
            ("some text", "none", "192.0.2.10"),
        ],
    )
    async def test_every_egress_address_must_pass(self, record, result, egress):
        zone = {
            "acme.example": {"TXT": [record], "MX": ["10 mx1.acme.example", "20 mx2.acme.example"]},
            "mx1.acme.example": {"A": ["192.0.2.10"]},
            "mx2.acme.example": {"A": ["192.0.2.11"]},
            "_spf.platform.example": {"TXT": ["v=spf1 ip4:192.0.2.8/29 -all"]},
            "x.example": {"A": ["198.51.100.1"]},
        }
        found = await DomainAuthentication(StaticResolver(zone), ["192.0.2.10/31"]).spf("acme.example")
        assert (found.result, found.egress, found.domain) == (result, egress, "acme.example")
        assert found.why.isprintable()

    async def test_without_egress_nothing_is_asked(self):
        dns = Counting({})
        assert (await DomainAuthentication(dns).spf("acme.example")).result == "not-configured"
        assert dns.asked == []

    async def test_dns_trouble_is_temporary(self):
        zone = txt(acme_example="v=spf1 include:_spf.platform.example -all") | {"_spf.platform.example": None}
        with pytest.raises(Unavailable) as caught:
            await DomainAuthentication(StaticResolver(zone), ["192.0.2.10"]).spf("acme.example")
        assert caught.value.reply is replies.SPF_TROUBLE

    async def test_a_result_is_kept_for_minutes(self):
        now = [0.0]
        dns = Counting(txt(acme_example="v=spf1 ip4:192.0.2.10 -all"))
        authentication = DomainAuthentication(dns, ["192.0.2.10"], clock=lambda: now[0])
        for _ in range(3):
            assert await authentication.spf("acme.example") == SpfResult("pass", domain="acme.example")
        assert len(dns.asked) == 1
        now[0] = 301.0
        await authentication.spf("acme.example")
        assert len(dns.asked) == 2

    async def test_a_next_hop_that_rewrites_the_envelope(self):
        zone = txt(acme_example="v=spf1 -all", bounce_ses_example="v=spf1 ip4:192.0.2.10 -all")
        authentication = DomainAuthentication(
            StaticResolver(zone), ["192.0.2.10"], envelope_domain="bounce.ses.example"
        )
        assert await authentication.spf("acme.example") == SpfResult("pass", domain="bounce.ses.example")

    def test_small_networks_whole_large_ones_by_samples(self):
        assert addresses(["192.0.2.8/30", "192.0.2.9"]) == [f"192.0.2.{n}" for n in (8, 9, 10, 11)]
        large = addresses(["198.51.0.0/16"])
        assert len(large) == 8 and large[0] == "198.51.0.0" and large[-1] == "198.51.255.255"
        assert len(addresses(["2001:db8::/32"])) == 8
        with pytest.raises(ValueError):
            addresses(["192.0.2.300"])

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.sampled_from(TERMS), max_size=12).map(
            lambda terms: " ".join(terms) if len(terms) % 2 else "".join(terms)
        )
    )
    async def test_no_record_breaks_it(self, text):
        zone = {"acme.example": {"TXT": ["v=spf1 " + text]}, "x.example": {"A": ["192.0.2.1"]}}
        found = await DomainAuthentication(StaticResolver(zone), ["192.0.2.10"]).spf("acme.example")
        assert found.result in ("pass", "fail", "softfail", "neutral", "none", "permerror")


def zone(**records):
    """`com="v=DMARC1; psd=y"` -> the record at _dmarc.com; `__` stands for a dot."""
    texts = {name: [text] if isinstance(text, str) else text for name, text in records.items()}
    return {"_dmarc." + name.replace("__", "."): {"TXT": found} for name, found in texts.items()}


class TestDmarc:
    @pytest.mark.parametrize(
        ("domain", "records", "at", "organisational", "policy"),
        [
            ("acme.example", zone(acme__example="v=DMARC1; p=none"), "acme.example", "acme.example", "none"),
            ("acme.example", {}, "", "acme.example", ""),
            # the organisational domain's record, with sp for what lies below
            ("news.acme.example", zone(acme__example="v=DMARC1; p=reject"), "acme.example", "acme.example", "reject"),
            (
                "news.acme.example",
                zone(acme__example="v=DMARC1; p=reject; sp=quarantine"),
                "acme.example",
                "acme.example",
                "quarantine",
            ),
            # the own record wins, the organisation is still the shortest name
            (
                "news.acme.example",
                zone(acme__example="v=DMARC1; p=reject", news__acme__example="v=DMARC1; p=none"),
                "news.acme.example",
                "acme.example",
                "none",
            ),
            # a record between is neither
            (
                "a.b.acme.example",
                zone(acme__example="v=DMARC1; p=reject", b__acme__example="v=DMARC1; p=none"),
                "acme.example",
                "acme.example",
                "reject",
            ),
            # psd=n: the walk ends, this is the organisation
            (
                "a.b.acme.example",
                zone(acme__example="v=DMARC1; p=reject", b__acme__example="v=DMARC1; p=none; psd=n"),
                "b.acme.example",
                "b.acme.example",
                "none",
            ),
            # psd=y: the organisation is one label below, and the suffix's record is the last resort
            ("a.acme.bank", zone(bank="v=DMARC1; p=reject; psd=y"), "bank", "acme.bank", "reject"),
            (
                "a.acme.bank",
                zone(bank="v=DMARC1; p=reject; psd=y", acme__bank="v=DMARC1; p=none"),
                "acme.bank",
                "acme.bank",
                "none",
            ),
            # a suffix that sends mail itself
            ("bank.example", zone(bank__example="v=DMARC1; p=reject; psd=y"), "bank.example", "bank.example", "reject"),
            # several records of one name count as none
            (
                "acme.example",
                zone(acme__example=["v=DMARC1; p=none", "v=DMARC1; p=reject"]),
                "",
                "acme.example",
                "",
            ),
            (
                "acme.example",
                zone(acme__example=["v=DMARC1; p=none", "hello", "v=spf1 -all"]),
                "acme.example",
                "acme.example",
                "none",
            ),
        ],
    )
    async def test_discovery(self, domain, records, at, organisational, policy):
        found = await DomainAuthentication(StaticResolver(records)).dmarc(domain)
        assert (found.at, found.organisational, found.policy) == (at, organisational, policy)

    async def test_np_is_for_names_that_do_not_exist(self):
        records = zone(acme__example="v=DMARC1; p=none; sp=quarantine; np=reject") | {
            "there.acme.example": {"A": ["192.0.2.1"]}
        }
        dns = StaticResolver(records)
        assert (await dmarc.discover(dns, "there.acme.example")).policy == "quarantine"
        assert (await dmarc.discover(dns, "not.acme.example")).policy == "reject"

    async def test_at_most_eight_questions(self):
        dns = Counting({})
        name = ".".join(f"l{n}" for n in range(12)) + ".example"
        await dmarc.discover(dns, name)
        names = [asked.removeprefix("_dmarc.") for asked, _ in dns.asked]
        assert len(names) == 8 and names[0] == name
        assert [n.count(".") + 1 for n in names] == [13, 7, 6, 5, 4, 3, 2, 1]

    @pytest.mark.parametrize(
        ("text", "policy"),
        [
            ("v=DMARC1", "none"),
            ("v=DMARC1;", "none"),
            ("v=DMARC1; P=Reject", "reject"),
            (" v = DMARC1 ; p = quarantine ; pct=20; x=y; fo", "quarantine"),
            ("v=DMARC1; p=rejekt", ""),
            ("v=DMARC1; p=rejekt; rua=mailto:d@acme.example", "none"),
            ("v=DMARC1; p=rejekt; rua=nothing", ""),
            ("v=DMARC1; p=none; p=reject", "none"),
        ],
    )
    async def test_the_policy_of_a_record(self, text, policy):
        found = await dmarc.discover(StaticResolver(zone(acme__example=text)), "acme.example")
        assert found.policy == policy
        assert (found.record == "") == (policy == "")

    @pytest.mark.parametrize(
        "text",
        ["", ";", "v=DMARC2; p=none", "p=none; v=DMARC1", "v=dmarc1; p=none", "V=DMARC1; p=none", "v=DMARC1 p=none"],
    )
    def test_what_is_no_record(self, text):
        assert dmarc.parse(text) is None

    async def test_alignment_modes(self):
        found = await dmarc.discover(StaticResolver(zone(a__example="v=DMARC1; p=none; adkim=S; aspf=x")), "a.example")
        assert (found.adkim, found.aspf) == ("s", "r")

    @settings(max_examples=100, deadline=None)
    @given(st.text(max_size=40), st.text(alphabet="vpDMARC1=; sn,:", max_size=60))
    def test_no_text_breaks_the_parser(self, any_text, near):
        for text in (any_text, near, "v=DMARC1;" + any_text, "v=DMARC1;" + near):
            record = dmarc.parse(text)
            assert record is None or record.policy("sp", "p") in ("", *dmarc.POLICIES)

    async def test_dns_trouble_is_temporary(self):
        with pytest.raises(Unavailable) as caught:
            await DomainAuthentication(StaticResolver({"_dmarc.acme.example": None})).dmarc("acme.example")
        assert caught.value.reply is replies.AUTHENTICATION_TROUBLE

    async def test_is_kept(self):
        dns = Counting(zone(acme__example="v=DMARC1; p=none"))
        authentication = DomainAuthentication(dns)
        assert isinstance(await authentication.dmarc("acme.example"), Dmarc)
        asked = len(dns.asked)
        assert await authentication.organisational("acme.example") == "acme.example"
        assert len(dns.asked) == asked


class TestOwnership:
    KEY = hashlib.sha256(b"installation").digest()

    def test_the_record(self):
        value = ownership.value(self.KEY, "acme", "acme.example")
        assert ownership.name("acme.example") == "_aup-relay.acme.example"
        token = value.removeprefix("aup-relay-verify=")
        assert len(base64.b32decode(token.upper())) == 20
        assert value == ownership.value(self.KEY, "acme", "ACME.example")

    def test_another_tenant_domain_or_installation_has_another_token(self):
        values = {
            ownership.value(self.KEY, "acme", "acme.example"),
            ownership.value(self.KEY, "other", "acme.example"),
            ownership.value(self.KEY, "acme", "other.example"),
            ownership.value(bytes(32), "acme", "acme.example"),
        }
        assert len(values) == 4

    async def test_verify(self):
        value = ownership.value(self.KEY, "acme", "acme.example")
        dns = StaticResolver({"_aup-relay.acme.example": {"TXT": ["\u00e9 other", value + " "]}})
        assert await ownership.verify(dns, self.KEY, "acme", "acme.example")
        assert not await ownership.verify(dns, self.KEY, "other", "acme.example")
        assert not await ownership.verify(StaticResolver({}), self.KEY, "acme", "acme.example")

    async def test_an_outage_is_no_answer(self):
        with pytest.raises(Unavailable):
            await ownership.verify(StaticResolver({"_aup-relay.acme.example": None}), self.KEY, "acme", "acme.example")
