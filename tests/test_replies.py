"""The lines that clients, support macros and other people's code depend on."""

from pathlib import Path

import pytest
from relay import replies
from relay.replies import LIMIT, Reply, say, table

GOLDEN = Path(__file__).parent / "golden" / "replies.txt"
REF = "abcdefghijklmnopqrstuvwxyz"
URL = "https://mail.platform.example"


def test_the_table_is_as_published() -> None:
    """After a change on purpose: `make docs`, and look at the difference."""
    ours = "".join(f"{name:24} {reply}\n" for name, reply in table().items())
    assert ours == GOLDEN.read_text()


@pytest.mark.parametrize("reply", table().values(), ids=table())
def test_a_reply_fits_the_wire(reply: Reply) -> None:
    """RFC 5321 section 4.5.3.1.5 with room to spare; printable ASCII, a code a client knows."""
    line = say(reply, check="sender-domain-resolves", ref=REF, base_url=URL, retry_in=2_678_400)
    assert line.isascii()
    assert line.isprintable()
    assert len(line) <= LIMIT
    assert line.startswith(f"{reply.code} {reply.code // 100}.")
    assert reply.text in line, "nothing of the text had to give way"
    assert reply.code // 100 in (2, 4, 5)
    assert 0 <= reply.subject <= 7


OFF_THE_LIST = (replies.SUPPRESSED, replies.NO_CONSENT, replies.NOT_BUSINESS, replies.ROLE_ADDRESS)


@pytest.mark.parametrize("reply", table().values(), ids=table())
def test_only_a_suppression_takes_an_address_off_the_list(reply: Reply) -> None:
    """Sending tools drop a contact at 55x x.7.1; a fault of message, tenant or domain must not look like one."""
    if reply.code >= 500 and (reply.subject, reply.detail) == (7, 1):
        assert reply in OFF_THE_LIST


@pytest.mark.parametrize("name", ["INTERNAL", "STORE_DOWN", "OUTAGE", "TOO_LATE", "STILL_SENDING"])
def test_our_own_fault_is_temporary(name: str) -> None:
    assert table()[name].code == 451


def test_a_policy_reply_names_rule_wait_and_reference() -> None:
    line = say(replies.RATE, check="rate", ref=REF, base_url=URL, retry_in=36.2)
    assert line == f"451 4.7.1 [rate] Quota used up; retry in 37 seconds; ref={REF} {URL}/r/{REF}"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (59.999, "60"), (60.0, "60")]
)
def test_seconds_are_rounded_up(seconds: float, said: str) -> None:
    """A client that comes back when told must not be too early."""
    assert f"retry in {said} seconds" in say(replies.RATE, check="rate", ref=REF, retry_in=seconds)


def test_a_permanent_reply_never_says_retry() -> None:
    assert "retry" not in say(replies.SUSPENDED, check="tenant-standing", ref=REF, retry_in=60)


def test_without_an_address_only_the_reference() -> None:
    assert say(replies.RATE, check="rate", ref=REF) == f"451 4.7.1 [rate] Quota used up; ref={REF}"


def test_a_protocol_reply_has_neither_rule_nor_reference() -> None:
    assert say(replies.BAD_COMMAND) == "500 5.5.2 Command not recognised"


def test_long_words_of_a_next_hop_give_way_to_the_reference() -> None:
    line = say(Reply(550, 1, 1, "x" * 500), check="next-hop-recipient", ref=REF, base_url=URL)
    assert len(line) == LIMIT
    assert line.endswith(f"x; ref={REF} {URL}/r/{REF}")
