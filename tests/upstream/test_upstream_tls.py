"""How a connection is secured and logged in, and that it is not used where that fails."""

import asyncio
import base64
import ssl

import pytest
from relay import events, replies
from relay.address import parse
from relay.model import Envelope, Recipient, Tenant
from relay.smtp.nexthop_link import HopSettings, Link, Refused, tls_context

MESSAGE = b"Subject: x\r\n\r\nHello\r\n"
STARTTLS = ("PIPELINING", "STARTTLS")


async def send(hop):
    envelope = Envelope("r", 0.0, Tenant("acme", "none"), "marketing", parse("a@acme.example"))
    envelope.recipients = [Recipient(parse("u@one.example"))]
    return await hop.send(envelope, envelope.recipients, [MESSAGE], len(MESSAGE))


def why(hop):
    return [(e.step, e.why) for e in hop.events if isinstance(e, events.NextHopFailed)]


async def test_starttls_with_a_verified_certificate(relay, certificates, server_tls):
    server, hop = await relay(context=server_tls, offers=STARTTLS, tls="starttls", ca_file=str(certificates / "ca.pem"))
    assert (await send(hop)).reply.code == 250
    assert (await send(hop)).reply.code == 250
    assert server.verbs()[:4] == ["EHLO", "STARTTLS", "EHLO", "MAIL"] and len(server.messages) == 2


async def test_implicit_tls_by_name(relay, certificates, server_tls):
    server, hop = await relay(
        context=server_tls,
        implicit=True,
        tls="implicit",
        ca_file=str(certificates / "ca.pem"),
        server_name="mx.example",
    )
    assert (await send(hop)).reply.code == 250 and len(server.messages) == 1


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_an_unknown_authority_is_not_trusted(relay, server_tls, tls):
    server, hop = await relay(context=server_tls, implicit=tls == "implicit", offers=STARTTLS, tls=tls)
    assert (await send(hop)).reply == replies.NEXT_HOP_DOWN
    [(step, text)] = why(hop)
    assert step == "tls" and "certificate is not valid" in text
    assert "MAIL" not in server.verbs()


async def test_another_hosts_certificate_is_not_trusted(relay, certificates, server_tls):
    _, hop = await relay(
        context=server_tls,
        offers=STARTTLS,
        tls="starttls",
        ca_file=str(certificates / "ca.pem"),
        server_name="other.example",
    )
    assert (await send(hop)).reply == replies.NEXT_HOP_DOWN
    assert "other.example" in why(hop)[0][1]


async def test_verification_can_be_switched_off_by_name(relay, server_tls):
    server, hop = await relay(context=server_tls, offers=STARTTLS, tls="starttls", verify=False)
    assert (await send(hop)).reply.code == 250 and len(server.messages) == 1


async def test_starttls_is_required_not_hoped_for(relay):
    server, hop = await relay(offers=("PIPELINING",), tls="starttls")
    assert (await send(hop)).reply == replies.NEXT_HOP_DOWN
    assert why(hop) == [("starttls", "it does not offer STARTTLS")] and "MAIL" not in server.verbs()


@pytest.mark.parametrize("said", [b"454 4.7.0 not now\r\n", b"220 go\r\n250 injected\r\n", b"220 go\r\n2"])
async def test_what_comes_with_the_answer_to_starttls_ends_the_connection(relay, server_tls, said):
    """RFC 3207 section 5: what was said in the clear must not count inside."""
    server, hop = await relay({"STARTTLS": said}, offers=STARTTLS, tls="starttls", verify=False)
    assert (await send(hop)).reply == replies.NEXT_HOP_DOWN
    assert why(hop)[0][0] == "starttls" and server.verbs() == ["EHLO", "STARTTLS"]


async def test_what_was_offered_in_the_clear_is_forgotten(relay, server_tls):
    server, hop = await relay(context=server_tls, tls="starttls", verify=False)
    server.answers["EHLO"] = [b"250-x\r\n250-STARTTLS\r\n250 DSN\r\n", b"250-x\r\n250 8BITMIME\r\n"]
    assert await hop.probe()
    assert hop.offers.eight_bit and not hop.offers.dsn


async def test_a_server_that_speaks_no_tls(relay):
    _, hop = await relay(offers=STARTTLS, tls="starttls", verify=False)
    assert (await send(hop)).reply == replies.NEXT_HOP_DOWN
    assert why(hop)[0][0] == "tls"


def test_tls_is_1_2_or_newer_and_verified():
    context = tls_context(HopSettings("mx", "mx.example", 25, tls="starttls"))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname and context.verify_mode == ssl.CERT_REQUIRED
    assert tls_context(HopSettings("mx", "mx.example", 25)) is None


async def test_an_authority_file_that_cannot_be_read(relay):
    _, hop = await relay(offers=STARTTLS, tls="starttls", ca_file="/nowhere/ca.pem")
    assert (await send(hop)).reply == replies.NEXT_HOP_DOWN
    assert not hop.healthy


# -- AUTH ---------------------------------------------------------------------------------------------
async def test_plain(relay):
    server, hop = await relay(offers=("PIPELINING", "AUTH LOGIN PLAIN"), user="me", password="s3cret")
    assert (await send(hop)).reply.code == 250
    assert server.lines[1] == "AUTH PLAIN " + base64.b64encode(b"\0me\0s3cret").decode()


async def test_plain_with_a_password_too_long_for_one_line(relay):
    answers = {"AUTH": b"334 \r\n", "LINE": b"235 yes\r\n"}
    server, hop = await relay(answers, offers=("AUTH PLAIN",), user="u", password="p" * 500)
    assert (await send(hop)).reply.code == 250 and server.lines[1] == "AUTH PLAIN"


async def test_login(relay):
    answers = {"AUTH": b"334 VXNlcm5hbWU6\r\n", "LINE": [b"334 UGFzc3dvcmQ6\r\n", b"235 2.7.0 yes\r\n"]}
    server, hop = await relay(answers, offers=("AUTH=LOGIN",), user="me", password="s3cret")
    assert (await send(hop)).reply.code == 250
    assert server.lines[1:4] == ["AUTH LOGIN", "bWU=", "czNjcmV0"]


async def test_a_refused_login_is_ours_to_bear_and_shows_no_secret(relay):
    answers = {"AUTH": b"535 5.7.8 bad: me s3cret\r\n"}
    server, hop = await relay(answers, offers=("AUTH PLAIN",), user="me", password="s3cret")
    delivery = await send(hop)
    assert delivery.reply == replies.NEXT_HOP_DOWN and "MAIL" not in server.verbs()
    assert why(hop) == [("auth", "it said 535")]
    assert "s3cret" not in f"{delivery} {hop.events} {hop.last_error} {hop.settings}"


async def test_no_mechanism_in_common(relay):
    _, hop = await relay(offers=("AUTH CRAM-MD5",), user="me", password="x")
    assert (await send(hop)).reply == replies.NEXT_HOP_DOWN
    assert why(hop)[0][0] == "auth"


async def test_a_password_is_never_sent_in_the_clear_to_another_host(relay):
    class Transport:
        written = b""

        def get_extra_info(self, name):
            return ("192.0.2.1", 25)

        def write(self, data):
            self.written += data

        def abort(self):
            pass

    link = Link(asyncio.get_running_loop(), lambda link: None, 1)
    link.connection_made(Transport())
    link.extensions = link.extensions.__class__(auth=frozenset({"PLAIN"}))
    with pytest.raises(Refused, match="in the clear"):
        await link._login(HopSettings("mx", "mx.example", 25, user="me", password="x"))
    assert link.transport.written == b""
