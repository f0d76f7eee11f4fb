"""Each event is described, named once, and keeps people out of the log."""

import dataclasses
import inspect
import re

import pytest
from relay.events import Event, vocabulary

KINDS = vocabulary()


@pytest.mark.parametrize("kind", KINDS, ids=lambda e: e.name)
def test_an_event_is_described(kind: type[Event]) -> None:
    """A sentence, then one line for each field, in the order of the fields."""
    text = inspect.cleandoc(kind.__doc__ or "")
    fields = [field.name for field in dataclasses.fields(kind)]
    assert re.fullmatch(r"[a-z_]+\.[a-z]+", kind.name)
    assert re.findall(r"^(\w+) {2,}\S", text, re.M) == fields
    assert text.partition("\n\n")[0].rstrip().endswith((".", ":")), "the first paragraph is a sentence"
    assert kind.level in ("debug", "info", "warning", "error")


@pytest.mark.parametrize("kind", KINDS, ids=lambda e: e.name)
def test_a_label_has_few_values(kind: type[Event]) -> None:
    """A metric with a series for each mail, tenant or session would grow without end."""
    many = {"ref", "session", "tenant", "credential", "ms", "seconds", "size", "count", "message", "where", "listener"}
    few = {"session.ended": {"listener"}}  # as many as the configuration has
    assert set(kind.labels) <= {field.name for field in dataclasses.fields(kind)}
    assert not set(kind.labels) & (many - few.get(kind.name, set()))


@pytest.mark.parametrize("kind", KINDS, ids=lambda e: e.name)
def test_no_field_is_for_a_person(kind: type[Event]) -> None:
    """Addresses, subjects and secrets stay in the ledger, where they can be erased."""
    people = {"sender", "recipient", "recipients", "subject", "address", "client", "from", "to", "password", "user"}
    assert not {field.name for field in dataclasses.fields(kind)} & people


def test_names_are_unique() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)
