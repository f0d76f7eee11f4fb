"""Reports that came to the abuse address and are no ARF: by SpamCop and its like, forwarded, as an attachment, or
written by hand.  Whatever can tell which mail they are about is kept; who reports stays apart."""

from __future__ import annotations

from relay.feedback import arf, dsn
from relay.feedback.heard import Heard
from relay.feedback.opened import Opened
from relay.feedback.original import Original, in_text

_DATA = frozenset(
    {"application/json", "text/json", "application/yaml", "text/yaml", "text/x-yaml", "application/x-yaml"}
)


def attached(report: Opened) -> Original | None:
    """A header in the text, or in a machine-readable part such as XARF's, where line breaks are `\\n`."""
    found = in_text(report.said)
    if found is not None:
        return found
    for part in report.parts[:20]:
        if part.content_type in _DATA or (part.content_type == "text/plain" and part.is_attachment):
            text = report.text(part)
            found = in_text(text) or in_text(text.replace("\\r", "").replace("\\n", "\n").replace('\\"', '"'))
            if found is not None:
                return found
    return None


def read(report: Opened, original: Original | None) -> list[Heard]:
    recipients = arf.of_original(original) if original is not None else []
    recipient = recipients[0] if recipients and recipients[0].lower() != report.author.lower() else ""
    if recipients and not recipient:
        recipient = recipients[0]  # people report what they were sent
    return [
        Heard(
            kind="abuse",
            recipient=recipient,
            diagnostic=dsn.printable(report.subject),
            mta=dsn.printable(report.author.rpartition("@")[2])[:255],
            reporter=report.author,
            at=report.at,
        )
    ]
