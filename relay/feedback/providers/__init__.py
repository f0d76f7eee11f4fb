"""Events that senders' providers report by HTTP, as what was heard: one reader for each of them.

A reader takes the decoded JSON and never raises BadEvents for what it does not know: new kinds and fields come
without notice, and are `other`, or nothing.  BadEvents is for what is no report of that provider at all.
"""

from __future__ import annotations

from relay.feedback.providers.fields import BadEvents, decoded

__all__ = ["BadEvents", "decoded"]
