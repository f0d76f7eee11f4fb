"""What comes back for mail that was sent: bounces, complaints, replies.

`read` takes the octets of such a message apart; it does no I/O and reads no clock.
"""

from relay.feedback import codes, removal
from relay.feedback.heard import Heard, Kind, Permanence
from relay.feedback.read import read

__all__ = ["Heard", "Kind", "Permanence", "load", "read"]


def load() -> None:
    """Read the wordings now (0.1 s) rather than when the first message needs them."""
    codes.wordings()
    removal.languages()
