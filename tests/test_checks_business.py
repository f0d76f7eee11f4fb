"""Who may be written to where only businesses may: personal domains, their exchangers, and addresses nobody reads."""

import pytest
from relay.address import parse
from relay.checks import recipient_business, recipient_role
from relay.lists import Lists
from relay.model import Envelope, Mail, Recipient, Session, Tenant
from relay.ports import Answer, Tools, Unavailable


class Dns:
    def __init__(self, mx=()):
        self.mx, self.asked = mx, []

    async def resolve(self, name, type):
        self.asked.append(name)
        if self.mx == "down":
            raise Unavailable("timeout")
        return Answer(tuple(self.mx), True)


def mail(address):
    envelope = Envelope("r" * 26, 0.0, Tenant("acme", "prospektr"), "marketing", parse("a@acme.example"))
    return Mail(0.0, Session("s", "192.0.2.1", "l"), envelope, Recipient(parse(address)))


async def business(address, *, hosts=("10 mx.acme.example.",), files=None, missing=None, **settings):
    dns = Dns(hosts)
    tools = Tools(dns, None, None, missing=missing or {}, lists=Lists(files))
    found = await recipient_business.run(mail(address), recipient_business.Settings(**settings), tools)
    return found and dict(found.seen), dns


@pytest.mark.parametrize(
    "address",
    ["ann@gmail.com", "ann@GMAIL.com", "ann@t-online.de", "ann@orange.fr", "ann@comcast.net", "ann@mailinator.com",
     "ann@proton.me", "ann@rediffmail.com", "ann@wp.pl", "ann@socal.rr.com",
     "ann@smith.name", "ann@home.smith.name", "ann@smith.me.uk", "ann@smith.id.au", "ana@silva.nom.br"],
)  # fmt: skip
async def test_people_at_home(address):
    found, _ = await business(address)
    assert found["found"] == "personal-domains"


@pytest.mark.parametrize(
    "address",
    [
        "ann@acme.example",
        "ann@ibm.com",
        "ann@alibaba.com",
        "ann@mail.acme.example",
        "a@[192.0.2.1]",
        "ann@surname.com",
        "ann@acme.co.uk",
        "ann@me.co.uk",
        "ann@acme.com.au",
        "ann@acme.com.br",
    ],
)
async def test_people_at_work(address):
    found, _ = await business(address)
    assert found is None


@pytest.mark.parametrize(
    ("mx", "found"),
    [
        (("10 mx01.mail.icloud.com.", "10 mx02.mail.icloud.com."), "mail.icloud.com"),
        (("10 MX01.mail.iCloud.com.",), "mail.icloud.com"),
        (("10 mx01.mail.icloud.com.", "20 mx.acme.example."), None),
        (("1 aspmx.l.google.com.",), None),
        (("0 acme-example.mail.protection.outlook.com.",), None),
        (("0 outlook-com.olc.protection.outlook.com.",), "olc.protection.outlook.com"),
        (("0 .",), None),
        ((), None),
        ("down", None),
    ],
)
async def test_where_the_mail_of_the_domain_goes(mx, found):
    seen, _ = await business("ann@family.example", hosts=mx)
    assert (seen and seen["entry"]) == found


async def test_the_operator_has_the_last_word_both_ways(tmp_path):
    (tmp_path / "b").write_text("comcast.net\nshop.t-online.de\n")
    (tmp_path / "p").write_text("people.example\n!orange.fr\n")
    files = {"business-domains": [tmp_path / "b"], "personal-domains": [tmp_path / "p"]}
    for address, personal in [
        ("a@comcast.net", False), ("a@shop.t-online.de", False), ("a@t-online.de", True),
        ("a@home.people.example", True), ("a@orange.fr", False),
    ]:  # fmt: skip
        found, _ = await business(address, files=files)
        assert bool(found) is personal, address


async def test_the_dns_is_asked_only_where_the_lists_say_nothing():
    for address, settings in [("a@gmail.com", {}), ("a@acme.example", {"mx": False})]:
        _, dns = await business(address, **settings)
        assert dns.asked == []
    found, dns = await business("a@family.example", hosts=("1 mx01.mail.icloud.com.",), missing={"dns": "offline"})
    assert found is None and dns.asked == []


def role(address, **settings):
    tools = Tools(None, None, None, lists=Lists())
    found = recipient_role.run(mail(address), recipient_role.Settings(**settings), tools)
    return found and found.seen["name"]


def test_functions_of_the_network_are_nobody():
    assert role("Abuse@acme.example") == "abuse" == role("abuse+x@acme.example") == role('"abuse"@acme.example')
    assert role("no-reply@acme.example") == role("No_Reply@acme.example") == "no-reply"
    for one in ("info@acme.example", "sales@acme.example", "abuse.team@acme.example", '"abuse me"@acme.example'):
        assert role(one) is None
    assert role("careers@acme.example", also=("careers",)) == "careers"
    assert role("no.reply@acme.example") == "no-reply" and role("ann.root@acme.example") is None
    assert role("careers@acme.example", also=("Careers",)) == "careers"
    assert role("webmaster@acme.example", allow=("Webmaster",)) is None
    assert role("our_robot@acme.example", also=("our_robot",)) == "our_robot"
    for allowed in ("no_reply", "no-reply"):
        assert role("no_reply@acme.example", allow=(allowed,)) is None
    assert role("webmaster@acme.example", allow=("webmaster",)) is None
