"""What returned mail says: bounces, complaints, answers of programs, removal requests."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.feedback import Heard, codes, read
from relay.feedback.opened import Opened
from relay.feedback.read import of
from relay.feedback.removal import Own, new_text

VERP = "bounce+mfrggzdfmztwq2lk@bounces.platform.example"
ORIGINAL = """\
Return-Path: <bounce+mfrggzdfmztwq2lk@bounces.platform.example>
Received: from client.example ([192.0.2.7])
\tby relay.platform.example (aup-relay/k3j) with ESMTPSA id abcdefghijklmnopqrstuvwxyz
\tfor <ann@customer.example>; Mon, 2 Nov 2026 10:00:00 +0000
X-AUP-Trace: tracetracetracetrace
List-Unsubscribe: <https://mail.platform.example/u/AbCdEfGhIjKlMnOpQrStUvWxYz0123456789u>
Message-ID: <m1@acme.example>
From: Bob <bob@acme.example>
To: ann@customer.example
Subject: Our offer
Date: Mon, 2 Nov 2026 10:00:00 +0000

Hello Ann
"""


def mail(text: str, to: str = VERP, **options: object) -> tuple[Heard, ...]:
    raw = text.replace("\n", "\r\n").encode()
    return of(Opened(raw), to, **options)  # type: ignore[arg-type]


def one(text: str, to: str = VERP) -> Heard:
    heard = mail(text, to)
    assert len(heard) == 1, heard
    return heard[0]


def dsn(*groups: str, original: str = ORIGINAL, text: str = "Delivery failed.\n", kind: str = "message/rfc822") -> str:
    fields = "\n".join(f"{group.strip()}\n" for group in groups)
    return f"""\
Return-Path: <>
From: Mail Delivery System <MAILER-DAEMON@mx.customer.example>
To: {VERP}
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
Date: Mon, 2 Nov 2026 10:05:00 +0000
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b1"

--b1
Content-Type: text/plain; charset=utf-8

{text}
--b1
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.customer.example
Arrival-Date: Mon, 2 Nov 2026 10:00:01 +0000

{fields}
--b1
Content-Type: {kind}

{original}
--b1--
"""


def failed(address: str, status: str, diagnostic: str, action: str = "failed") -> str:
    return (
        f"Final-Recipient: rfc822; {address}\nAction: {action}\nStatus: {status}\n"
        f"Remote-MTA: dns; in.customer.example\nDiagnostic-Code: smtp; {diagnostic}"
    )


# -- delivery reports --------------------------------------------------------------------------
def test_a_delivery_report_says_who_why_and_for_which_mail() -> None:
    heard = one(dsn(failed("ann@customer.example", "5.1.1", "550 5.1.1 <ann@customer.example>: User unknown")))
    assert heard == Heard(
        kind="bounce",
        recipient="ann@customer.example",
        permanence="hard",
        status="5.1.1",
        code=550,
        diagnostic="550 5.1.1 <ann@customer.example>: User unknown",
        mta="in.customer.example",
        traces=(
            "mfrggzdfmztwq2lk",
            "tracetracetracetrace",
            "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789u",
            "abcdefghijklmnopqrstuvwxyz",
        ),
        message_id="m1@acme.example",
        sender="bob@acme.example",
        at=1793613601.0,
    )


def test_each_recipient_of_a_report_is_told_apart() -> None:
    heard = mail(
        dsn(
            failed("a@x.example", "5.1.1", "550 5.1.1 no such user"),
            failed("b@x.example", "4.2.2", "452 4.2.2 over quota", "delayed"),
            failed("c@x.example", "2.0.0", "250 ok", "delivered"),
            failed("d@x.example", "2.0.0", "250 ok", "relayed"),
            failed("e@x.example", "2.0.0", "250 ok", "expanded"),
            failed("f@x.example", "5.7.1", "550 5.7.1 blocked"),
        )
    )
    assert [(one.recipient[0], one.kind, one.permanence) for one in heard] == [
        ("a", "bounce", "hard"),
        ("b", "delay", "soft"),
        ("c", "delivered", ""),
        ("d", "delivered", ""),
        ("e", "delivered", ""),
        ("f", "bounce", "policy"),
    ]


def test_the_address_we_sent_to_is_named_where_it_was_forwarded() -> None:
    group = "Original-Recipient: rfc822;ann+2Bnews@customer.example\n" + failed("ann@elsewhere.example", "5.1.1", "550")
    assert one(dsn(group)).recipient == "ann+news@customer.example"


def test_a_tag_that_looks_like_xtext_is_left_alone() -> None:
    for address in ("ann+2Bnews@customer.example", "ann+2024@customer.example"):
        group = f"Original-Recipient: rfc822;{address}\n" + failed(address, "5.1.1", "550")
        assert one(dsn(group)).recipient == address


def test_a_report_of_rfc_6533_names_an_address_beyond_ascii() -> None:
    text = dsn("Final-Recipient: utf-8; j\\x{f6}rg@b\\x{fc}cher.example\nAction: failed\nStatus: 5.1.1")
    text = text.replace("message/delivery-status", "message/global-delivery-status")
    assert one(text).recipient == "jörg@bücher.example"


def test_half_a_surrogate_pair_in_a_report_is_harmless() -> None:
    text = dsn("Final-Recipient: utf-8; j\\x{d800}@x.example\nAction: failed\nStatus: 5.1.1")
    for heard in mail(text):
        heard.recipient.encode()


def test_only_the_header_came_back() -> None:
    header = ORIGINAL.partition("\n\n")[0] + "\n"
    heard = one(dsn(failed("ann@customer.example", "5.1.1", "550"), original=header, kind="text/rfc822-headers"))
    assert (heard.message_id, "tracetracetracetrace" in heard.traces) == ("m1@acme.example", True)


def test_a_bounce_of_a_bounce_is_nothing() -> None:
    original = "Return-Path: <>\nFrom: MAILER-DAEMON@mx.example\nTo: x@y.example\nSubject: failure notice\n\nx\n"
    heard = one(dsn(failed("x@y.example", "5.1.1", "550 5.1.1 user unknown"), original=original))
    assert (heard.kind, heard.permanence) == ("other", "")


def test_a_report_cut_off_anywhere_is_read_as_far_as_it_goes() -> None:
    text = dsn(failed("ann@customer.example", "5.1.1", "550 5.1.1 User unknown"))
    at = text.index("Diagnostic-Code")
    heard = one(text[:at])
    assert (heard.kind, heard.recipient, heard.permanence) == ("bounce", "ann@customer.example", "hard")
    for end in range(0, len(text), 40):
        for heard in mail(text[:end]):
            assert heard.recipient in ("", "ann@customer.example", VERP) or heard.kind in ("other", "automatic")


def test_a_bounce_that_a_gateway_attached_is_read() -> None:
    inner = dsn(failed("ann@customer.example", "5.1.1", "550 5.1.1 User unknown"))
    text = f"""\
From: postmaster@gateway.example
To: {VERP}
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer"

--outer
Content-Type: message/rfc822

{inner}
--outer--
"""
    heard = one(text)
    assert (heard.kind, heard.recipient, heard.permanence) == ("bounce", "ann@customer.example", "hard")


# -- whose fault ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "diagnostic", "permanence"),
    [
        ("5.1.1", "550 5.1.1 The email account that you tried to reach does not exist", "hard"),
        ("5.1.1", "550 5.1.1 User unknown; please check the address and try again", "hard"),
        ("5.1.2", "550 5.1.2 Host unknown", "hard"),
        ("5.1.1", "no details", "hard"),
        ("5.1.10", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found by SMTP address lookup", "hard"),
        ("5.2.1", "550 5.2.1 The email account that you tried to reach is disabled", "hard"),
        ("5.0.0", "550 Unbekannter Empfänger", "hard"),
        ("5.0.0", "550 Utilisateur inconnu", "hard"),
        ("5.0.0", "550 usuario desconocido", "hard"),
        ("5.0.0", "550 Użytkownik nie istnieje", "hard"),
        ("5.0.0", "550 Användaren finns inte", "hard"),
        ("5.4.1", "550 5.4.1 Recipient address rejected: Access denied. [x.prod.protection.outlook.com]", "hard"),
        ("5.5.0", "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302)", "hard"),
        ("5.4.4", "Host or domain name not found. Name service error for type=AAAA: Host not found", "hard"),
        # soft: time may cure it, or nobody knows
        ("5.2.2", "552 5.2.2 mailbox full", "soft"),
        ("5.1.1", "550 5.1.1 Mailbox full", "soft"),
        ("5.2.1", "550 5.2.1 The user you are trying to contact is receiving mail at a rate that prevents it", "soft"),
        ("4.4.7", "delivery time expired", "soft"),
        ("4.1.1", "450 4.1.1 User unknown in local recipient table", "soft"),
        ("4.1.1", "User unknown", "soft"),
        ("5.0.0", "550 Requested action not taken: mailbox unavailable", "soft"),
        ("5.0.0", "550 rejected", "soft"),
        ("5.0.0", "550 Recipient rejected", "soft"),
        ("5.1.1", "550 Recipient rejected", "soft"),
        ("5.4.4", "Name service error for name=x.example: Host not found, try again", "soft"),
        ("5.4.6", "554 5.4.6 Too many hops", "soft"),
        ("5.3.4", "552 5.3.4 Message size exceeds fixed maximum message size", "soft"),
        ("5.0.0", "550 User unknown (in reply to end of DATA command)", "soft"),
        # policy: about the sender or the message
        ("5.7.1", "550 5.7.1 No such user", "policy"),
        ("5.7.26", "550 5.7.26 This mail has been blocked because the sender is unauthenticated", "policy"),
        ("5.7.515", "550 5.7.515 Access denied, does not meet the required authentication level", "policy"),
        ("4.7.28", "421 4.7.28 Our system has detected an unusual rate of mail", "policy"),
        ("5.0.0", "554 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", "policy"),
        ("5.1.1", "550 5.1.1 Message rejected as spam", "policy"),
        ("5.0.0", "550 Rejected due to DMARC policy", "policy"),
        ("5.1.8", "553 5.1.8 Sender address rejected: Domain not found", "policy"),
        ("5.1.0", "553 5.1.0 host x said: does not exist (in reply to MAIL FROM command)", "policy"),
        # a word in a link, a host or an address is nobody's word
        ("5.1.1", "550 5.1.1 <ann@spam-policy.example>: User unknown. See https://help.example/spam/blocked", "hard"),
        ("5.0.0", "550 <ann@spam-blocked.example>: User unknown", "hard"),
        ("5.0.0", "550 User unknown, see https://help.example/blocked?by=policy", "hard"),
        ("5.0.0", "host filter.blocked.example said: 550 no such user", "hard"),
    ],
)  # fmt: skip
def test_hard_means_that_the_address_is_dead(status: str, diagnostic: str, permanence: str) -> None:
    assert one(dsn(failed("ann@customer.example", status, diagnostic))).permanence == permanence


def test_the_code_of_the_server_counts_where_the_report_has_only_a_catch_all() -> None:
    heard = one(dsn(failed("ann@customer.example", "5.0.0", "550-5.1.1 The account\n 550 5.1.1 does not exist")))
    assert (heard.status, heard.code, heard.permanence) == ("5.1.1", 550, "hard")


@pytest.mark.parametrize(
    ("text", "permanence"),
    [
        ("<ann@customer.example>: host x said:\n    550 no such user (in reply to RCPT TO command)\n", "hard"),
        ("<ann@customer.example>: host x said:\n    550 no such user (in reply to end of DATA command)\n", "soft"),
        ("<ann@customer.example>: host x said:\n    550 no such user (in reply to MAIL FROM command)\n", "policy"),
        (">>> RCPT To:<ann@customer.example>\n<<< 550 no such user\n", "hard"),
        (">>> DATA\n<<< 550 no such user\n", "soft"),
        (">>> MAIL From:<bob@acme.example>\n<<< 550 no such user\n", "policy"),
    ],
)
def test_what_is_refused_at_another_command_than_rcpt_is_no_dead_address(text: str, permanence: str) -> None:
    assert one(dsn(failed("ann@customer.example", "5.0.0", "550 no such user"), text=text)).permanence == permanence


# -- bounces without a machine-readable part ----------------------------------------------------------
def bounced(body: str, sender: str = "MAILER-DAEMON@mx.customer.example", subject: str = "failure notice") -> str:
    return f"From: {sender}\nTo: {VERP}\nSubject: {subject}\nDate: Mon, 2 Nov 2026 10:05:00 +0000\n\n{body}"


PLAIN = {
    "qmail": (
        "Hi. This is the program at mx.customer.example.\nI'm afraid I wasn't able to deliver your message.\n\n"
        "<ann@customer.example>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n"
        f"--- Below this line is a copy of the message.\n\n{ORIGINAL}",
        "hard",
        "5.1.1",
    ),
    "exim": (
        "A message that you sent could not be delivered. The following address(es) failed:\n\n"
        "  ann@customer.example\n    host in.customer.example [192.0.2.9]\n"
        "    SMTP error from remote mail server after RCPT TO:<ann@customer.example>:\n    550 No such user here\n\n"
        f"------ This is a copy of the message, including all the headers. ------\n\n{ORIGINAL}",
        "hard",
        "",
    ),
    "sendmail": (
        "The original message was received at Mon, 2 Nov 2026\n\n"
        "   ----- The following addresses had permanent fatal errors -----\n<ann@customer.example>\n\n"
        "   ----- Transcript of session follows -----\n>>> RCPT To:<ann@customer.example>\n"
        "<<< 552 5.2.2 Over quota\n\n   ----- Original message follows -----\n\n" + ORIGINAL,
        "soft",
        "5.2.2",
    ),
    "exchange": (
        "Your message\n\n  To:      ann@customer.example\n  Subject: Our offer\n\n"
        "did not reach the following recipient(s):\n\n"
        "ann@customer.example on Mon, 2 Nov 2026 10:00:00\n    The recipient name is not recognized\n",
        "hard",
        "",
    ),
    "imail": (
        f"User mailbox exceeds allowed size: ann@customer.example\n\nOriginal message follows.\n\n{ORIGINAL}",
        "soft",
        "",
    ),
    "address and code": ("Failed.\n\nann@customer.example: 554 5.7.1 Message rejected as spam\n", "policy", "5.7.1"),
    "groupwise": ("The message was undeliverable to the following:\n    ann@customer.example (user not found)\n",
                  "hard", ""),
    "german": ("Die Nachricht wurde nicht zugestellt.\n\nann@customer.example\n  Benutzer unbekannt\n", "hard", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_plain_bounces(name: str) -> None:
    body, permanence, status = PLAIN[name]
    heard = one(bounced(body))
    assert (heard.kind, heard.recipient) == ("bounce", "ann@customer.example")
    assert (heard.permanence, heard.status) == (permanence, status)
    if "aup-relay" in body:
        assert (heard.message_id, heard.traces[:2]) == ("m1@acme.example", ("mfrggzdfmztwq2lk", "tracetracetracetrace"))


def test_two_recipients_in_one_paragraph_each_get_their_reason() -> None:
    body = (
        "These could not be delivered:\n\nann@customer.example: 550 5.2.2 <ann@customer.example> Mailbox Full\n"
        "ben@customer.example: 550 5.1.1 <ben@customer.example> User Unknown\n"
    )
    assert [(one.recipient[:3], one.permanence) for one in mail(bounced(body))] == [("ann", "soft"), ("ben", "hard")]


def test_a_field_that_names_the_recipients_is_believed() -> None:
    text = "X-Failed-Recipients: ann@customer.example,\n ben@customer.example\n" + bounced(
        "It failed: contact help@x.example"
    )
    assert [one.recipient for one in mail(text)] == ["ann@customer.example", "ben@customer.example"]


def test_a_warning_is_no_bounce() -> None:
    body = "Your message to\n  ann@customer.example\nhas not been delivered yet.\nIt will be retried for 4 days.\n"
    heard = one(bounced(body, subject="Warning: message delayed 24 hours"))
    assert (heard.kind, heard.permanence, heard.recipient) == ("delay", "soft", "ann@customer.example")


def test_talk_of_bounces_is_no_bounce() -> None:
    text = "From: Carl <carl@x.example>\nTo: list@y.example\nSubject: Bounced mail\n\nLast week my mail was rejected.\n"
    assert one(text, "list@y.example").kind == "other"


# -- answers of programs ---------------------------------------------------------------------------
NOTE = "From: Ann <ann@customer.example>\nTo: bob@acme.example\n"


@pytest.mark.parametrize(
    "header",
    [
        "Auto-Submitted: auto-replied\nSubject: Re: Our offer",
        "X-Autoreply: yes\nSubject: Re: Our offer",
        "Precedence: auto_reply\nSubject: Re: Our offer",
        *(
            f"Subject: {subject}"
            for subject in (
                "Out of Office: Our offer",
                "Automatic reply: Our offer",
                "Abwesenheitsnotiz: Our offer",
                "Automatische Antwort: Our offer",
                "Réponse automatique : Our offer",
                "Respuesta automática: Our offer",
                "Risposta automatica: Our offer",
                "Automatisch antwoord: Our offer",
                "Resposta automática: Our offer",
                "Odpowiedź automatyczna: Our offer",
                "Autosvar: Our offer",
                "स्वचालित उत्तर: Our offer",
            )
        ),
    ],
)
def test_a_note_is_never_anything_else(header: str) -> None:
    text = f"{NOTE}{header}\n\nI have left the company. Please remove me from your list. User unknown.\n"
    assert one(text, "bob@acme.example").kind == "automatic"


def test_a_receipt_is_automatic() -> None:
    text = (
        f"{NOTE}Subject: Read: Our offer\n"
        "Content-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n"
        "--b\n\nRead.\n--b\nContent-Type: message/disposition-notification\n\n"
        "Final-Recipient: rfc822;ann@customer.example\nDisposition: manual-action; displayed\n\n--b--\n"
    )
    assert one(text, "bob@acme.example").kind == "automatic"


def test_a_hand_written_request_in_the_words_of_a_note_is_for_a_person() -> None:
    text = f"{NOTE}Subject: Re: Our offer\n\nShe is no longer with the company. Please remove this address.\n"
    heard = one(text, "bob@acme.example")
    assert (heard.kind, heard.sure) == ("removal", False)


@pytest.mark.parametrize(
    "text",
    [
        "Jane Doe is no longer with the company. Please remove her from your list.",
        "I no longer work for Acme and have asked you three times now to respect that, and every week there is another "
        "mail of yours in here that somebody else has to read. Remove my email address from your database at once.",
        "I have left the company. Please remove me from your list. User unknown.",
    ],
)
def test_a_request_in_the_words_of_a_note_is_not_lost(text: str) -> None:
    for subject in ("Our offer", "Please confirm your message to Ann"):
        heard = one(f"{NOTE}Subject: Re: {subject}\n\n{text}\n", "bob@acme.example")
        assert (heard.kind, heard.sure) == ("removal", False)


def test_the_words_of_a_note_ask_for_nothing() -> None:
    text = f"{NOTE}Subject: Re: Our offer\n\nJane Doe is no longer with the company.\n"
    assert one(text, "bob@acme.example").kind == "automatic"


@pytest.mark.parametrize(
    "subject",
    [
        "The packaging challenge",
        "Vacation deals for you",
        "Auto: 20% off tyres",
        "Out of office furniture",
        "Away from home?",
        "Confirm [your seat]",
    ],
)
def test_an_answer_to_a_subject_that_sounds_like_a_note_is_no_note(subject: str) -> None:
    text = f"{NOTE}Subject: Re: {subject}\n\nPlease remove me from your list.\n"
    heard = one(text, "bob@acme.example")
    assert (heard.kind, heard.sure) == ("removal", True)
    assert one(f"Auto-Submitted: auto-replied\n{text}", "bob@acme.example").kind == "automatic"


def test_a_clear_request_under_the_subject_of_a_challenge_is_for_a_person() -> None:
    text = f"{NOTE}Subject: The packaging challenge\n\nPlease remove me from your list.\n"
    heard = one(text, "bob@acme.example")
    assert (heard.kind, heard.sure) == ("removal", False)


# -- complaints ----------------------------------------------------------------------------------
def arf(fields: str, original: str = ORIGINAL) -> str:
    return f"""\
From: <feedback@provider.example>
To: fbl@platform.example
Subject: FW: Our offer
Date: Mon, 2 Nov 2026 12:00:00 +0000
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b2"

--b2
Content-Type: text/plain

This is an email abuse report.

--b2
Content-Type: message/feedback-report

{fields}
--b2
Content-Type: message/rfc822

{original}
--b2--
"""


def test_a_complaint() -> None:
    heard = one(
        arf(
            "Feedback-Type: abuse\nUser-Agent: P/1\nVersion: 1\nOriginal-Mail-From: <x@acme.example>\n"
            "Original-Rcpt-To: <ann@customer.example>\nArrival-Date: Mon, 2 Nov 2026 10:00:01 +0000\n"
            "Reporting-MTA: dns; mx.provider.example\nSource-IP: 192.0.2.1\n"
        ),
        "fbl@platform.example",
    )
    assert (heard.kind, heard.recipient, heard.feedback_type) == ("complaint", "ann@customer.example", "abuse")
    assert (heard.reporter, heard.sender, heard.mta) == (
        "feedback@provider.example", "bob@acme.example", "mx.provider.example"
    )  # fmt: skip
    assert "tracetracetracetrace" in heard.traces and heard.at == 1793613601.0


@pytest.mark.parametrize(
    "said",
    [
        "550 5.1.1 Your email was rejected because your domain does not exist",
        "550 5.1.1 The sender's account does not exist",
        "550 5.1.1 Sender unknown user",
        "550 Callback setup failed while verifying <news@acme.example>: User unknown",
        "550 5.1.1 no such user - callout verification of sender failed",
    ],
)
def test_words_about_the_sender_blame_no_recipient(said: str) -> None:
    assert codes.reason(said).permanence == "policy"


def test_what_qmail_was_told_after_data_may_be_about_anything() -> None:
    said = "192.0.2.1 failed after I sent the message. Remote host said: 550 no such user"
    assert codes.reason(said).permanence == "soft"
    assert codes.reason(said.replace("failed after I sent the message", "does not like recipient")).permanence == "hard"


@pytest.mark.parametrize("address", ["redactie@krant.example", "redaction@journal.example", "hiddenvalley@x.example"])
def test_an_editors_desk_is_no_redacted_address(address: str) -> None:
    original = ORIGINAL.replace("ann@customer.example", address)
    heard = one(arf(f"Feedback-Type: abuse\nOriginal-Rcpt-To: {address}\n", original), "fbl@platform.example")
    assert (heard.kind, heard.recipient) == ("complaint", address)


@pytest.mark.parametrize(
    "blotted", ["redacted-ann@customer.example", "xxxx@customer.example", "<redacted>", "***@x.example"]
)
def test_a_redacted_complaint_has_no_recipient_but_its_traces(blotted: str) -> None:
    original = ORIGINAL.replace("To: ann@customer.example", f"To: {blotted}").replace("for <ann@customer.example>", "")
    heard = one(arf(f"Feedback-Type: abuse\nOriginal-Rcpt-To: {blotted}\n", original), "fbl@platform.example")
    assert (heard.kind, heard.recipient) == ("complaint", "")
    assert "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789u" in heard.traces


@pytest.mark.parametrize(
    ("type", "kind"),
    [("abuse", "complaint"), ("fraud", "complaint"), ("virus", "complaint"), ("opt-out", "unsubscribe"),
     ("not-spam", "other"), ("auth-failure", "other"), ("\x1b[31mabuse", "other"), ("a" * 5000, "other")],
)  # fmt: skip
def test_feedback_types(type: str, kind: str) -> None:
    assert one(arf(f"Feedback-Type: {type}\n"), "fbl@platform.example").kind == kind


def test_several_recipients_of_one_complaint() -> None:
    fields = "Feedback-Type: abuse\n" + "".join(f"Original-Rcpt-To: a{n}@x.example\n" for n in range(500))
    heard = mail(arf(fields), "fbl@platform.example")
    assert len(heard) == 20 and heard[1].recipient == "a1@x.example"


def test_a_complaint_with_the_message_attached_and_no_more() -> None:
    original = "X-HmXmrOriginalRecipient: ann@hotmail.example\n" + ORIGINAL
    text = (
        "From: staff@hotmail.example\nTo: fbl@platform.example\nSubject: complaint about message from 192.0.2.1\n"
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
        f"--b\nContent-Type: message/rfc822\n\n{original}\n--b--\n"
    )
    heard = one(text, "fbl@platform.example")
    assert (heard.kind, heard.recipient, heard.message_id) == ("complaint", "ann@hotmail.example", "m1@acme.example")


# -- abuse reports ---------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["attached", "inline", "quoted"])
def test_an_abuse_report_tells_which_mail_and_keeps_the_reporter_apart(form: str) -> None:
    head = "From: Carl <carl@victim.example>\nTo: abuse@platform.example\nSubject: spam from your customer\n"
    if form == "attached":
        text = (
            f"{head}MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nPlease stop them.\n"
            f"--b\nContent-Type: message/rfc822\n\n{ORIGINAL}\n--b--\n"
        )
    elif form == "inline":
        text = f"{head}\n[ SpamCop V5 ]\nThis message is brief.\n\n[ Offending message ]\n{ORIGINAL}"
    else:
        text = f"{head}\nSee below.\n\n" + "".join(f"> {line}\n" for line in ORIGINAL.split("\n"))
    heard = one(text, "abuse@platform.example")
    assert (heard.kind, heard.reporter, heard.message_id) == ("abuse", "carl@victim.example", "m1@acme.example")
    assert (heard.sender, heard.recipient) == ("bob@acme.example", "ann@customer.example")
    assert "tracetracetracetrace" in heard.traces


@pytest.mark.parametrize("subject", ["Phishing challenge page sent by your customer", "Vacation scam", "Re: Vacation"])
def test_a_report_whose_subject_sounds_like_a_note_is_a_report(subject: str) -> None:
    text = f"From: carl@victim.example\nTo: abuse@platform.example\nSubject: {subject}\n%s\nPlease stop them.\n"
    assert one(text % "", "abuse@platform.example").kind == "abuse"
    assert one(text % "X-Autoreply: yes\n", "abuse@platform.example").kind == "automatic"
    to = f"unsubscribe+{TOKEN}@bounces.platform.example"
    assert one(text % "", to).kind == "unsubscribe"


def test_the_abuse_address_can_have_another_name() -> None:
    text = "From: carl@victim.example\nTo: report@platform.example\nSubject: spam\n\nYour customer spams.\n"
    assert mail(text, "report@platform.example", abuse_addresses=("report@platform.example",))[0].kind == "abuse"


# -- unsubscribes ------------------------------------------------------------------------------------
TOKEN = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789u"


@pytest.mark.parametrize(
    ("to", "subject", "more"),
    [
        ("unsubscribe@bounces.platform.example", f"unsubscribe {TOKEN}", ""),
        ("unsubscribe@bounces.platform.example", f"Re: unsubscribe {TOKEN}", ""),
        (f"unsubscribe+{TOKEN}@bounces.platform.example", "", ""),
        # Apple's mail programs
        ("unsubscribe@bounces.platform.example", f"unsubscribe {TOKEN}", "Auto-Submitted: auto-replied\n"),
    ],
)
def test_a_mail_to_the_unsubscribe_address(to: str, subject: str, more: str) -> None:
    heard = one(f"From: ann@customer.example\nTo: {to}\nSubject: {subject}\n{more}\nSent by a mail program.\n", to)
    assert (heard.kind, heard.recipient) == ("unsubscribe", "ann@customer.example")
    assert TOKEN in heard.traces


@pytest.mark.parametrize("subject", ["Out of office", "Re: your mail"])
def test_a_note_to_the_unsubscribe_address_unsubscribes_nobody(subject: str) -> None:
    text = f"From: ann@customer.example\nSubject: {subject}\nAuto-Submitted: auto-replied\n\nI am away.\n"
    assert one(text, "unsubscribe@bounces.platform.example").kind == "automatic"


# -- people who ask to be removed ----------------------------------------------------------------------
def reply(text: str, quoted: str = "Hello Ann, to unsubscribe write to us. Remove me.") -> str:
    lines = "".join(f"> {line}\n" for line in quoted.split("\n"))
    return (
        "From: Ann <ann@customer.example>\nTo: bob@acme.example\nSubject: Re: Our offer\n"
        "In-Reply-To: <m1@acme.example>\n"
        "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
        f"{text}\n\nOn Mon, 2 Nov 2026 at 10:00, Bob <bob@acme.example> wrote:\n{lines}"
    )


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Please remove me from your list.", "en"),
        ("STOP", "en"),
        ("unsubscribe", "en"),
        ("Hi Bob,\n\nplease take me off this list. Thanks!\n\nAnn", "en"),
        ("Could you please stop emailing me?", "en"),
        ("Don't contact me again.", "en"),
        ("Bitte streichen Sie mich aus Ihrem Verteiler.", "de"),
        ("Bitte keine E-Mails mehr.", "de"),
        ("Merci de me désinscrire.", "fr"),
        ("Je ne souhaite plus recevoir vos messages", "fr"),
        ("Por favor, denme de baja.", "es"),
        ("No me envíen más correos", "es"),
        ("Cancellatemi dalla lista, grazie", "it"),
        ("Gelieve mij uit te schrijven.", "nl"),
        ("Geen mails meer aub", "nl"),
        ("Por favor remova meu e-mail da lista", "pt"),
        ("कृपया मुझे इस सूची से हटा दें", "hi"),
        ("Proszę usunąć mnie z listy", "pl"),
        ("Ta bort mig från listan, tack", "sv"),
    ],
)
def test_people_who_ask_to_be_removed(text: str, language: str) -> None:
    heard = one(reply(text), "bob@acme.example")
    assert (heard.kind, heard.sure, heard.language, heard.recipient) == (
        "removal",
        True,
        language,
        "ann@customer.example",
    )


@pytest.mark.parametrize(
    "text",
    [
        "Please don't unsubscribe me, I like your mails.",
        "How do I unsubscribe?",
        "Remove me from your list?",
        "If you can't do Friday, remove me from the list.",
        "Where did you get my email address?",
        "Wie kann ich mich abmelden?",
        "Remove me. " + "We were very happy with the last delivery and would like to order again. " * 4,
        "No me den de baja, por favor",
    ],
)
def test_unclear_requests_are_for_a_person(text: str) -> None:
    heard = one(reply(text), "bob@acme.example")
    assert (heard.kind, heard.sure) == ("removal", False)


@pytest.mark.parametrize(
    "text",
    [
        "Thanks, Tuesday suits me. Please stop by our office.",
        "Sounds good, send me the contract.",
        "We should remove the second paragraph from the draft.",
        "The bus stop is opposite.",
        "Danke, das passt. Ich melde mich.",
        "Me parece bien, hablamos mañana.",
        "",
    ],
)
def test_other_answers_ask_for_nothing(text: str) -> None:
    assert one(reply(text), "bob@acme.example").kind == "other"


@pytest.mark.parametrize(
    "text",
    [
        "Fjern mig venligst fra jeres liste",
        "Avmeld",
        "Poistakaa minut listalta",
        "Prosím odhlaste mě",
        "Vyřaďte mě z databáze",
        "Kérem, töröljenek a listáról",
        "Dezabonare va rog",
        "Удалите меня из рассылки",
        "Не пишите мне больше",
        "Видаліть мене",
        "Διαγράψτε με",
        "Lütfen beni listenizden çıkarın",
        "Uklonite me s liste",
        "Pašalinkite mane",
        "Loobun uudiskirjast",
        "削除してください",
        "配信停止してください",
        "请不要再发邮件给我",
        "수신거부",
        "보내지 마세요",
        "لا ترسل لي",
        "תסירו אותי מהרשימה",
    ],
)
def test_a_removal_in_another_language_is_for_a_person(text: str) -> None:
    heard = one(reply(text), "bob@acme.example")
    assert (heard.kind, heard.sure, heard.language) == ("removal", False, "")
    assert one(reply(text + " word" * 40), "bob@acme.example").kind == "other", "a long text is about something else"


@pytest.mark.parametrize(
    "text",
    [
        "Tak, det lyder spændende",
        "Děkuji, ozvěte se příští týden",
        "Спасибо, пришлите цены",
        "Köszönöm, érdekel",
        "Teşekkürler",
        "ありがとうございます",
        "好的，谢谢",
        "감사합니다",
        "شكرا جزيلا",
        "Mulțumesc, sunați-mă",
    ],
)
def test_an_answer_in_another_language_asks_for_nothing(text: str) -> None:
    assert one(reply(text), "bob@acme.example").kind == "other"


def opts_out(text: str) -> bool:
    return any(heard.kind == "removal" and heard.sure for heard in mail(reply(text), "bob@acme.example"))


@pytest.mark.parametrize(
    "text",
    [
        "Sounds good. Please drop me a line next week.",
        "Please drop us a mail",
        "Please do not contact me by phone, email is fine",
        "Please delete this email",
        "Get me out of this contract",
        "Please get me your list of dealers",
        "Take me off the waiting list and sign me up",
        "You strike me as an honest company",
    ],
)
def test_ordinary_sentences_opt_nobody_out(text: str) -> None:
    assert not opts_out(text)


@pytest.mark.parametrize(
    "text",
    [
        "Drop me from your list",
        "Please take me off your mailing list.",
        "Get us off this list!",
        "Please remove this email from your database",
        "Please remove us",
        "Keep me out of your campaigns",
    ],
)
def test_a_request_that_names_the_list_is_sure(text: str) -> None:
    heard = one(reply(text), "bob@acme.example")
    assert (heard.kind, heard.sure) == ("removal", True)


@pytest.mark.parametrize(
    "text",
    [
        "Please don't remove me",
        "Please don't stop sending these",
        "Do not stop emailing me",
        "Never stop sending me these",
        "Don't ever stop sending these",
        "I don't want you to stop sending these",
        "There is no need to remove me from the list",
        "Bitte nehmen Sie mich nicht aus dem Verteiler",
        "Streichen Sie mich nicht von der Liste",
        "Ich möchte keine Ihrer Mails verpassen",
        "Merci de ne pas supprimer mon adresse",
        "Je ne veux pas arrêter de recevoir vos messages",
        "No dejen de enviarme correos",
        "No quiero que me den de baja",
        "Non smettete di inviarmi email",
        "Non cancellate il mio indirizzo",
        "Haal mij niet van de lijst",
        "Verwijder mij niet uit de lijst",
        "Ik wil geen mails missen",
        "Não parem de me enviar emails",
        "Não me removam da lista",
        "मेल भेजना बंद मत करो",
        "Nie przestawajcie wysyłać mi ofert",
        "Nie chcę przestać otrzymywać wiadomości",
        "Jag vill inte bli borttagen",
    ],
)
def test_who_asks_to_stay_is_not_opted_out(text: str) -> None:
    assert not opts_out(text)


@pytest.mark.parametrize(
    ("text", "sure"),
    [
        ("Please remove this address: jane@customer.example", False),
        ("Please remove me and jane@customer.example.", False),
        ("Please remove me: Ann@Customer.Example.", True),
    ],
)
def test_a_request_that_names_another_address_is_for_a_person(text: str, sure: bool) -> None:
    heard = one(reply(text), "bob@acme.example")
    assert (heard.kind, heard.sure, heard.recipient) == ("removal", sure, "ann@customer.example")


def test_only_what_they_wrote_counts() -> None:
    assert one(reply("Great, thanks"), "bob@acme.example").kind == "other"
    footer = f"Great\n\nUnsubscribe: https://mail.platform.example/u/{TOKEN}"
    assert one(reply(footer), "bob@acme.example").kind == "other"
    signature = "Great\n\n-- \nAnn\nIf you no longer want to hear from me: unsubscribe me"
    assert one(reply(signature), "bob@acme.example").kind == "other"


def test_the_link_in_what_they_quote_is_a_trace() -> None:
    heard = one(reply("remove me", f"Hello\nhttps://mail.platform.example/u/{TOKEN}"), "bob@acme.example")
    assert TOKEN in heard.traces


@pytest.mark.parametrize(
    "quote",
    [
        "On Mon, 2 Nov 2026 at 10:00 Bob\n<bob@acme.example> wrote:\n\nremove me",
        "Am Montag, 2. November 2026 schrieb Bob <bob@acme.example>:\n\nremove me",
        "Le lun. 2 nov. 2026 à 10:00, Bob <bob@acme.example> a écrit :\nremove me",
        "-----Original Message-----\nFrom: Bob\nremove me",
        "________________________________\nFrom: Bob <bob@acme.example>\nremove me",
        "From: Bob <bob@acme.example>\nSent: Monday\nTo: Ann\n\nremove me",
        "Von: Bob\nGesendet: Montag\nAn: Ann\n\nremove me",
        "2026-11-02 10:00 GMT+01:00 Bob <bob@acme.example>:\n\nremove me",
    ],
)
def test_what_is_quoted_is_cut_off(quote: str) -> None:
    assert new_text(f"Yes please\n\n{quote}") == Own("Yes please", "Yes please")


def test_an_answer_names_the_mails_it_answers() -> None:
    thread = " ".join(f"<{n}@acme.example>" for n in range(1, 9))
    text = reply("remove me").replace(
        "In-Reply-To: <m1@acme.example>\n", f"In-Reply-To: <8@acme.example> (Bob's message)\nReferences: {thread}\n"
    )
    answers = ("8@acme.example", "7@acme.example", "6@acme.example", "1@acme.example")
    assert one(text, "bob@acme.example").answers == answers
    assert one(reply("remove me").replace("<m1@acme.example>", "your mail of Monday"), "bob@acme.example").answers == ()
    # A bounce names its mail by what came back of it: whoever answers in a thread may write to a dead address too.
    bounce = dsn(failed("ann@customer.example", "5.1.1", "550 no such user"), original="X-Note: nothing came back\n")
    assert one(bounce.replace("Subject: Undel", "In-Reply-To: <m1@acme.example>\nSubject: Undel")).answers == ()


def test_an_answer_below_what_it_quotes() -> None:
    assert new_text("On 2 Nov 2026 Bob wrote:\n> Hello\n> Bye\n\nremove me\n") == Own("remove me", "remove me")


def test_an_html_answer_without_its_quote() -> None:
    text = (
        "From: ann@customer.example\nSubject: Re: Our offer\nContent-Type: text/html; charset=utf-8\n\n"
        '<div>Fine</div><div class="gmail_quote">remove me <blockquote>unsubscribe</blockquote></div>'
    )
    assert one(text, "bob@acme.example").kind == "other"
    assert one(text.replace("Fine", "Remove me please"), "bob@acme.example").kind == "removal"


@pytest.mark.parametrize(
    "text",
    [
        # Nothing marks what is quoted, but our link shows that something is.
        f"Thanks!\n\nTo get no more of this, answer: please remove me.\nhttps://mail.platform.example/u/{TOKEN}\n",
        # A quoted line was broken by the mail program.
        "Thanks!\n\n> To get no more of this, answer with the words\nplease remove me\n> and we will.\n",
    ],
)
def test_what_may_be_quoted_is_for_a_person(text: str) -> None:
    heard = one(f"{NOTE}Subject: Re: Our offer\nIn-Reply-To: <m1@acme.example>\n\n{text}", "bob@acme.example")
    assert (heard.kind, heard.sure) == ("removal", False)


def test_the_link_behind_words_shows_that_something_is_quoted_too() -> None:
    html = (
        f"{NOTE}Subject: Re: Our offer\nIn-Reply-To: <m1@acme.example>\nContent-Type: text/html\n\n<p>%s</p>"
        f'<p>Just answer: please remove me.</p><p><a href="https://mail.platform.example/u/{TOKEN}">Leave</a></p>\n'
    )
    for written, sure in (("Thanks!", False), ("Please remove me.", True)):
        heard = one(html % written, "bob@acme.example")
        assert (heard.kind, heard.sure) == ("removal", sure)


@pytest.mark.parametrize(
    "text",
    [
        f"Please remove me.\n\nOn 2 Nov 2026 Bob wrote:\n> Hello\n> Leave:\nhttps://mail.platform.example/u/{TOKEN}\n>\n",
        "Please remove me.\n\n> To get no more of this, answer with the words\nplease remove me\n> and we will.\n",
        f"Please remove me.\n\n-----Original Message-----\nFrom: Bob\n\nLeave: https://mail.platform.example/u/{TOKEN}\n",
        "> Shall we go on writing to you?\n\nPlease remove me.\n\n> Yours, Bob\n",
        f"Please remove me, this does not work:\nhttps://mail.platform.example/u/{TOKEN}\n",
        f"Please remove me.\n\nHello Ann, here is our offer\nLeave: https://mail.platform.example/u/{TOKEN}\n",
    ],
)
def test_a_request_beside_what_may_be_quoted_is_sure(text: str) -> None:
    heard = one(f"{NOTE}Subject: Re: Our offer\nIn-Reply-To: <m1@acme.example>\n\n{text}", "bob@acme.example")
    assert (heard.kind, heard.sure) == ("removal", True)


@pytest.mark.parametrize("quoted", ["This is an automated mail.", "Ann is no longer with the company, so we ask you."])
def test_the_words_of_a_note_in_what_is_quoted_are_not_the_writers(quoted: str) -> None:
    heard = one(reply("Please remove me from your list.", quoted), "bob@acme.example")
    assert (heard.kind, heard.sure) == ("removal", True)
    assert one(reply("Sounds good.", quoted), "bob@acme.example").kind == "other"
    heard = one(reply(f"{quoted} Please remove me from your list.", "Hello"), "bob@acme.example")
    assert (heard.kind, heard.sure) == ("removal", False)


def test_a_newsletter_is_no_request() -> None:
    text = (
        "From: news@shop.example\nList-Unsubscribe: <https://shop.example/u>\nSubject: Sale\n\n"
        "Sale! Please unsubscribe me: click here\n"
    )
    assert one(text, "bob@acme.example").kind == "other"


# -- hostile ------------------------------------------------------------------------------------------
HOSTILE = {
    "empty": b"",
    "nothing but colons": b":" * 500_000,
    "one long word": b"From: mailer-daemon@x\r\nSubject: failure notice\r\n\r\n" + b"a" * 3_000_000,
    "at signs": b"From: mailer-daemon@x\r\nSubject: failure notice\r\n\r\n" + b"a@" * 1_000_000,
    "spaces": b"From: mailer-daemon@x\r\nSubject: failure notice\r\n\r\n" + b" " * 3_000_000 + b"x",
    "dashes": b"From: a@x\r\nSubject: Re: x\r\n\r\n" + b"-" * 100_000 + b" " * 100_000 + b"x",
    "tabs and brackets": b"From: mailer-daemon@x\r\nSubject: failure notice\r\n\r\n" + b"\t>" * 500_000,
    "header fields in the text": b"From: a@x\r\n\r\n" + b"X-A: b\r\n" * 300_000,
    "quotes": b"From: a@x\r\nSubject: Re: x\r\n\r\n" + b"> " * 1_000_000,
    "status fields": b"From: a@x\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: "
    b"message/delivery-status\r\n\r\n" + b"Final-Recipient: rfc822; a@x.example\r\n\r\n" * 50_000,
    "codes": b"From: mailer-daemon@x\r\nSubject: failure notice\r\n\r\n<a@x.example>:\r\n" + b"550 5.1.1." * 100_000,
    "angles": b"From: a@x\r\nSubject: Re: x\r\nContent-Type: text/html\r\n\r\n" + b"<" * 1_000_000,
    "lone surrogates": "From: a@x\r\nSubject: Re: x\r\n\r\n\ud800 remove me".encode("utf-8", "surrogatepass"),
    "right to left": "From: \u202ea@x.example\r\nTo: \u202e\r\nSubject: Re: \u202e\r\n\r\nremove me \u202e".encode(),
    "old Mac": b"From: a@x.example\rSubject: Re: x\r\rremove me",
    "contradicting types": b"Content-Type: text/plain\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_messages_cost_little(name: str) -> None:
    begun = time.process_time()
    heard = of(Opened(HOSTILE[name]), VERP)
    assert time.process_time() - begun < 2.0  # half a second on a slow machine; what is quadratic takes minutes
    for one in heard:
        repr(one).encode()
        assert len(one.diagnostic) <= 500 and len(one.recipient) <= 320 and len(one.traces) <= 20


def test_fifty_megabytes_are_not_read_to_their_end() -> None:
    raw = dsn(failed("ann@customer.example", "5.1.1", "550 5.1.1 User unknown")).replace("\n", "\r\n").encode()
    raw += b"x\r\n" * 17_000_000
    assert Opened(raw).message.size <= 2 * 1024 * 1024
    begun = time.process_time()
    heard = read(raw, VERP)
    assert time.process_time() - begun < 2.0
    assert (heard[0].recipient, heard[0].permanence) == ("ann@customer.example", "hard")


def test_nested_messages_are_not_opened_to_their_end() -> None:
    raw = ORIGINAL.replace("\n", "\r\n").encode()
    for number in range(200):
        raw = (
            b"From: MAILER-DAEMON@x.example\r\nTo: a@y.example\r\nSubject: Undelivered mail\r\n"
            b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n"
            b"--b%d\r\nContent-Type: message/rfc822\r\n\r\n" % (number, number)
        ) + raw + b"\r\n--b%d--\r\n" % number  # fmt: skip
    begun = time.process_time()
    assert of(Opened(raw), VERP)
    assert time.process_time() - begun < 2.0


SHAPES = [
    dsn(failed("ann@customer.example", "5.1.1", "550 5.1.1 User unknown")),
    arf("Feedback-Type: abuse\nOriginal-Rcpt-To: ann@customer.example\n"),
    bounced(PLAIN["exim"][0]),
    bounced(PLAIN["sendmail"][0]),
    reply("Please remove me"),
]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_comes_there_is_an_answer(data: st.DataObject) -> None:
    raw = data.draw(st.sampled_from(SHAPES)).replace("\n", "\r\n").encode()
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(raw)))
        raw = raw[:at] + data.draw(st.binary(max_size=30)) + raw[at + data.draw(st.integers(0, 200)) :]
    heard = of(Opened(raw), data.draw(st.sampled_from([VERP, "", "abuse@x.example", "\ud800@x"])))
    assert heard
    for one in heard:
        repr(one).encode()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_any_octets_have_an_answer(raw: bytes) -> None:
    assert of(Opened(raw), VERP)
