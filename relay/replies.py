"""Everything we ever say to an SMTP client, in one table.

A reply is a value.  What varies between two mails (the check, the reference, the
seconds to wait) is put in by `say()` in one fixed form; nothing a client sent,
no threshold and nothing of another tenant can come back as part of a line.
`docs/replies.md` is printed from this table and compared with it in a test.

Which code, and why (docs/replies.md has what each client does with it):

* 550 5.7.1 only at RCPT, and only where the sending tool *should* stop mailing
  that address.
* What is wrong with the message, the tenant or the domain: 554, and never x.7.1,
  so that the contact does not pay for it.
* What time alone cures: 451 with the seconds.  A fault of ours is always 451.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply: the code, the two free digits of the enhanced code, the text."""

    code: int
    subject: int
    detail: int
    text: str

    @property
    def enhanced(self) -> str:
        # The class digit is derived, not stored, so that "450 5.7.1" cannot be
        # written; RFC 2034 section 4 wants it equal to the first digit of the code.
        return f"{self.code // 100}.{self.subject}.{self.detail}"

    @property
    def temporary(self) -> bool:
        return self.code // 100 == 4

    @property
    def positive(self) -> bool:
        return self.code // 100 == 2

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}"


# -- accepted ---------------------------------------------------------------
OK = Reply(250, 0, 0, "OK")
SENDER_OK = Reply(250, 1, 0, "Sender OK")
RECIPIENT_OK = Reply(250, 1, 5, "Recipient OK")
SENT = Reply(250, 0, 0, "Accepted by the next hop")
REPORT_TAKEN = Reply(250, 0, 0, "Report taken")
HELD_ACCEPTED = Reply(250, 0, 0, "Accepted and held for review")
SIMULATED = Reply(250, 0, 0, "Simulated: accepted, and sent to nobody")
CHUNK_OK = Reply(250, 0, 0, "Chunk received")
RESET = Reply(250, 0, 0, "Reset")
BYE = Reply(221, 0, 0, "Bye")
READY_FOR_TLS = Reply(220, 0, 0, "Ready to start TLS")
AUTHENTICATED = Reply(235, 7, 0, "Authentication succeeded")
CANNOT_VERIFY = Reply(252, 0, 0, "Cannot verify; send some mail and see")
HELP = Reply(214, 0, 0, "See RFC 5321; a refusal carries a reference that explains it")

# -- the session ------------------------------------------------------------
SHUTTING_DOWN = Reply(421, 3, 2, "Shutting down, try again")
MAINTENANCE = Reply(421, 3, 2, "Maintenance, try again later")
TIMEOUT = Reply(421, 4, 2, "Timed out waiting for input")
TOO_SLOW = Reply(421, 7, 0, "Too slow, closing")
TOO_MANY_CONNECTIONS = Reply(421, 7, 0, "Too many connections, try again later")
TOO_MANY_ERRORS = Reply(421, 7, 0, "Too many errors, closing")
TOO_MANY_COMMANDS = Reply(421, 7, 0, "Too many commands, closing")
TOO_MANY_LOGINS = Reply(421, 7, 0, "Too many failed logins, closing")
LINE_TOO_LONG = Reply(500, 5, 2, "Line too long")
BAD_COMMAND = Reply(500, 5, 2, "Command not recognised")
BAD_SYNTAX = Reply(501, 5, 4, "Syntax error in parameters or arguments")
BAD_BASE64 = Reply(501, 5, 2, "Cannot decode base64")
AUTH_ABORTED = Reply(501, 7, 0, "Authentication aborted")
NOT_IMPLEMENTED = Reply(502, 5, 1, "Command not implemented")
BAD_SEQUENCE = Reply(503, 5, 1, "Bad sequence of commands")
NO_RECIPIENTS = Reply(503, 5, 1, "Send RCPT first")
ALREADY_AUTHENTICATED = Reply(503, 5, 1, "Already authenticated")
ALREADY_TLS = Reply(503, 5, 1, "TLS is already active")
PIPELINED_STARTTLS = Reply(503, 5, 1, "Nothing may be sent with STARTTLS")
BAD_MECHANISM = Reply(504, 5, 4, "Authentication mechanism not supported")
BAD_PARAMETER = Reply(555, 5, 4, "Parameter not recognised or not supported")
TLS_NOT_AVAILABLE = Reply(454, 7, 0, "TLS not available")
AUTH_REQUIRED = Reply(530, 7, 0, "Authentication required")
TLS_REQUIRED = Reply(530, 7, 0, "Issue STARTTLS first")
AUTH_NEEDS_TLS = Reply(538, 7, 11, "Encryption required for authentication")
BAD_CREDENTIALS = Reply(535, 7, 8, "Authentication credentials invalid")
LOGIN_THROTTLED = Reply(454, 7, 0, "Too many failed logins, try again later")
LOGIN_UNAVAILABLE = Reply(454, 7, 0, "Logins cannot be checked now, try again later")
NO_SERVICE = Reply(554, 7, 0, "No SMTP service here for this address")
TOO_MANY_RECIPIENTS = Reply(452, 5, 3, "Too many recipients, send the rest in another transaction")
SIMULATOR_ALONE = Reply(452, 5, 3, "Simulator recipients go alone")
ONE_RECIPIENT = Reply(452, 5, 3, "One recipient a message, send the rest in further transactions")
MESSAGE_TOO_BIG = Reply(552, 3, 4, "Message too big")
NO_ROOM = Reply(452, 3, 1, "Too much mail in flight, try again later")
BAD_SENDER = Reply(501, 1, 7, "Not a valid sender address")
SMTPUTF8_NEEDED = Reply(553, 6, 7, "An internationalised address needs SMTPUTF8 with MAIL")
SMTPUTF8_UNAVAILABLE = Reply(553, 6, 7, "The next hop does not take internationalised addresses")
ALL_RECIPIENTS_REFUSED = Reply(554, 5, 1, "No valid recipients")
NO_MAILBOX = Reply(550, 1, 1, "No such mailbox here")
NO_RECIPIENT_NOW = Reply(451, 5, 1, "No recipient can be taken now, try again later")

# -- our own trouble: always 451, and nothing of our insides ------------------
INTERNAL = Reply(451, 3, 0, "Internal error, try again later")
STORE_DOWN = Reply(451, 3, 0, "Temporary trouble, nothing was sent, try again later")
OUTAGE = Reply(451, 3, 0, "Cannot be judged now, try again later")
TOO_LATE = Reply(451, 3, 0, "Judging took too long, nothing was sent, try again later")
STILL_SENDING = Reply(451, 4, 5, "The same message is being sent, try again later")

# -- the next hop -------------------------------------------------------------
NEXT_HOP_DOWN = Reply(451, 4, 1, "The next hop cannot be used now, try again later")
NEXT_HOP_LOST = Reply(451, 4, 2, "The next hop was lost after the message, try again")
NEXT_HOP_REFUSES_US = Reply(451, 3, 5, "The next hop refuses this relay, try again later")
NEXT_HOP_SENDER = Reply(554, 7, 0, "The next hop refused the sender")
NEXT_HOP_SENDER_LATER = Reply(451, 4, 1, "The next hop cannot take the sender now, try again later")
NEXT_HOP_TOO_BIG = Reply(552, 3, 4, "Message too big for the next hop")
NEXT_HOP_UTF8 = Reply(553, 6, 7, "The next hop does not take this address")
NEXT_HOP_RECIPIENT = Reply(451, 5, 1, "The next hop refused some recipients, nothing was sent, try again")
NEXT_HOP_CONTENT = Reply(554, 7, 0, "The next hop refused the message")
NEXT_HOP_BUSY = Reply(451, 3, 2, "Too many messages of this tenant wait for the next hop, try again later")

# -- policy, temporary --------------------------------------------------------
RATE = Reply(451, 7, 1, "Quota used up")
HELD = Reply(451, 7, 1, "Held for review")
RETRY_STORM = Reply(451, 7, 1, "The same refused message keeps coming back")
SUSPENDED_FOR_A_TIME = Reply(451, 7, 1, "Sending is suspended for a time")
SUPPRESSED_FOR_A_TIME = Reply(451, 7, 1, "Recipient is suppressed for a time")
MEND_FIRST = Reply(451, 7, 0, "Not accepted as it is; mend it or it will be refused")
QUIET_HOURS = Reply(451, 7, 1, "Not at this hour where the recipient is")
RECIPIENT_FREQUENCY = Reply(451, 7, 1, "This recipient was mailed too often lately")
NEW_RECIPIENTS = Reply(451, 7, 1, "Too many new recipients for now")
SIMULATED_DEFER = Reply(451, 7, 1, "Simulated: try again later")
DNS_TROUBLE = Reply(451, 4, 3, "DNS did not answer, try again later")
SPF_TROUBLE = Reply(451, 7, 24, "SPF cannot be checked now, try again later")
AUTHENTICATION_TROUBLE = Reply(451, 7, 26, "Domain authentication cannot be checked now, try again later")
OWNERSHIP_BROKEN = Reply(451, 7, 0, "The domain no longer proves to be this account's; mend it or it will be refused")
SENDER_DOMAIN_BROKEN = Reply(451, 1, 8, "The sender's domain no longer takes mail; mend it or it will be refused")
SPF_BROKEN = Reply(451, 7, 23, "SPF of the sender's domain no longer passes; mend it or it will be refused")
DKIM_BROKEN = Reply(451, 7, 20, "The DKIM key of the From domain is no longer published; mend it or it will be refused")
DMARC_BROKEN = Reply(451, 7, 26, "The From domain no longer passes DMARC; mend it or it will be refused")
NULL_SENDER_ALONE = Reply(452, 5, 3, "A message from <> has one recipient")

# -- policy, the tenant, the domain or the message is at fault ------------------
SUSPENDED = Reply(554, 7, 0, "Sending is suspended")
TERMINATED = Reply(554, 7, 0, "The account is closed")
PROFILE_MISSING = Reply(554, 7, 0, "The sender's profile is incomplete or not verified")
SENDER_NOT_OWNED = Reply(554, 7, 0, "The sender's domain is not a verified domain of this account")
OPT_OUT_SYNC = Reply(554, 7, 0, "Opt-outs made elsewhere have not been reported for too long")
SENDER_NO_DOMAIN = Reply(554, 1, 8, "The sender's domain has no mail exchanger and no address")
SENDER_NULL_MX = Reply(554, 7, 27, "The sender's domain takes no mail (null MX)")
SPF_FAIL = Reply(554, 7, 23, "SPF of the sender's domain does not pass for this relay")
NULL_SENDER = Reply(554, 7, 0, "A message from <> must be a report or an automatic reply")
MALFORMED = Reply(554, 6, 0, "The message is malformed")
BARE_NEWLINE = Reply(554, 6, 0, "Lines must end in CR LF")
LOOP = Reply(554, 4, 6, "Mail loop")
FROM_NOT_OWNED = Reply(554, 7, 0, "The From domain is not a verified domain of this account")
DKIM_MISSING = Reply(554, 7, 20, "No valid DKIM signature of the From domain")
DMARC_FAIL = Reply(554, 7, 26, "The From domain does not pass DMARC")
NO_ONE_CLICK = Reply(554, 7, 0, "One-click unsubscribe (RFC 8058) is missing")
BAD_ONE_CLICK = Reply(554, 6, 0, "The List-Unsubscribe fields are malformed (RFC 8058)")
NO_UNSUBSCRIBE_LINK = Reply(554, 7, 0, "The text has no way to unsubscribe")
BROKEN_UNSUBSCRIBE = Reply(554, 7, 0, "The way to unsubscribe leads nowhere")
UNSUBSCRIBE_NOT_VISIBLE = Reply(554, 7, 0, "The way to unsubscribe is hidden, hard to see, or needs a login")
NO_POSTAL_ADDRESS = Reply(554, 7, 0, "The text has no postal address of the sender")
NO_IDENTITY = Reply(554, 7, 0, "The message does not name the sender's business")
DISPLAY_NAME = Reply(554, 7, 0, "The display name of From imitates somebody else")
BRAND_LOOKALIKE = Reply(554, 7, 0, "A domain in the message looks like one of somebody else")
SUBJECT_DECEPTIVE = Reply(554, 7, 0, "The subject misleads its reader")
LINK_DECEPTIVE = Reply(554, 7, 0, "A link in the message leads elsewhere than it seems, or nowhere")
LINK_LISTED = Reply(554, 7, 0, "A link in the message leads to a listed place")
STREAM_MISMATCH = Reply(554, 7, 0, "Bulk mail on a stream for transactional mail")
ACTIVE_CONTENT = Reply(554, 7, 0, "The message has active content: scripts, forms or embedded objects")
BAD_ATTACHMENT = Reply(554, 7, 0, "The message has a file of a kind that is not accepted")
LISTED_ATTACHMENT = Reply(554, 7, 0, "The message has a file that may not be sent")
MALWARE = Reply(554, 7, 0, "The message contains malware")
SPAM = Reply(554, 7, 0, "The message looks like spam")
CONTACT_LIST = Reply(554, 7, 0, "The message carries a list of people's contact data")
NO_CONTACT_METHOD = Reply(554, 7, 0, "The text has no telephone number, e-mail or web address of the sender")
HIDDEN_TEXT = Reply(554, 7, 0, "The message has text that a reader cannot see")
TOO_COMPLEX = Reply(554, 6, 0, "The HTML is too complex to be checked")
REVIEW_REFUSED = Reply(554, 7, 0, "Refused after review")
NO_CONSENT_YET = Reply(554, 7, 0, "No valid consent of the recipient yet")
NO_TRANSFER_BASIS = Reply(554, 7, 0, "Nothing declared covers transfers to the recipient's region")
HEALTH_DATA = Reply(554, 7, 0, "The message has health data of a person")
PAYMENT_DATA = Reply(554, 7, 0, "The message has a payment card, bank account or national identity number")
SPECIAL_DATA = Reply(554, 7, 0, "The message tells sensitive personal data to its reader")
ABUSIVE = Reply(554, 7, 0, "The wording is abusive")
PROHIBITED = Reply(554, 7, 0, "The wording is typical of prohibited content")
NEEDS_REVIEW = Reply(554, 7, 0, "The message needs a review")
SIMULATED_REFUSE = Reply(554, 7, 0, "Simulated: refused")

# -- policy, this recipient must not be mailed ----------------------------------
BAD_RECIPIENT = Reply(553, 1, 3, "Not a valid recipient address")
NO_SUCH_DOMAIN = Reply(550, 1, 2, "The recipient's domain does not exist")
RECIPIENT_NULL_MX = Reply(556, 1, 10, "The recipient's domain takes no mail (null MX)")
SUPPRESSED = Reply(550, 7, 1, "Recipient is suppressed: opted out, complained, or bounced")
NO_CONSENT = Reply(550, 7, 1, "No valid consent of the recipient")
NOT_BUSINESS = Reply(550, 7, 1, "Not a business address; people at personal addresses are not to be mailed")
ROLE_ADDRESS = Reply(550, 7, 1, "No person reads mail at this address")


def table() -> dict[str, Reply]:
    """Every reply by name, in the order of this file."""
    return {name: value for name, value in globals().items() if isinstance(value, Reply)}


LIMIT = 300
"""Octets of a line, CRLF not counted.  RFC 5321 section 4.5.3.1.5 allows 510;
tools show and store less."""


def say(
    reply: Reply,
    *,
    check: str | None = None,
    ref: str | None = None,
    base_url: str = "",
    retry_in: float | None = None,
) -> str:
    """The line on the wire, without its CRLF.

    `451 4.7.1 [rate] Quota used up; retry in 37 seconds; ref=<26 characters> <base_url>/r/<ref>`

    check      name of the deciding check; None for protocol replies
    ref        reference of the decision; None for protocol replies
    base_url   shown before /r/<ref>; left out where it is empty, and where there is nothing to explain
    retry_in   seconds until time cures it, rounded up; only on a temporary reply
    """
    parts = [f"{reply.code} {reply.enhanced} "]
    if check:
        parts.append(f"[{check}] ")
    tail = ""
    if retry_in is not None and reply.temporary:
        tail += f"; retry in {max(1, -int(-retry_in // 1))} seconds"
    if ref:
        tail += f"; ref={ref}"
        if base_url and not reply.positive:
            tail += f" {base_url}/r/{ref}"
    head = "".join(parts)
    # The text gives way, never the reference: a next hop's own words can be long.
    return head + reply.text[: max(0, LIMIT - len(head) - len(tail))] + tail
