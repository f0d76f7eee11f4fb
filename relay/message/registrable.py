"""The part of a host name that somebody registered: `shop.example.co.uk` -> `example.co.uk`.

By the Public Suffix List, as the package publicsuffixlist carries it (nothing is fetched).  Read here
rather than by that package's own class, which takes 70 to 120 ms for it: this takes 30 at most, and happens when
the first name is asked for, or before, by `load`.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources


@lru_cache(maxsize=1)
def _rules() -> dict[str, int]:
    """Suffix -> labels that it stands for more: 0 for a plain rule, 1 for `*.ck`, -1 for `!www.ck`."""
    rules: dict[str, int] = {}
    text = resources.files("publicsuffixlist").joinpath("public_suffix_list.dat").read_text(encoding="utf-8")
    for line in text.splitlines():
        rule = line.partition(" ")[0]
        if not rule or rule.startswith("//"):
            continue
        more = 0
        if rule.startswith("*."):
            rule, more = rule[2:], 1
        elif rule.startswith("!"):
            rule, more = rule[1:], -1
        if not rule.isascii():
            # The list is in lower case and composed, so that its labels need no mapping.
            rule = ".".join(
                [one if one.isascii() else "xn--" + one.encode("punycode").decode() for one in rule.split(".")]
            )
        # `*.ck` and `!www.ck` stand beside a rule of their own; a wildcard implies nothing of its parent.
        rules[rule] = more if more else rules.get(rule, 0)
    return rules


def load() -> None:
    """Read the list now rather than when the first message asks: 30 ms in which no other session is served."""
    _top()


@lru_cache(maxsize=16_384)
def suffix(host: str) -> str:
    """The public suffix of a host (lower case, A-labels): `co.uk`.  A name not in the list: its last label."""
    rules = _rules()
    labels = host.split(".")
    for index in range(max(0, len(labels) - 10), len(labels)):
        more = rules.get(".".join(labels[index:]))
        if more is None:
            continue
        if more < 0:
            return ".".join(labels[index + 1 :])
        return ".".join(labels[max(0, index - more) :])
    return labels[-1]


@lru_cache(maxsize=16_384)
def registrable(host: str) -> str:
    """The suffix and one label more; "" for a suffix itself, or a name without a dot."""
    ending = suffix(host)
    if len(host) <= len(ending) + 1:
        return ""
    return host[: -len(ending) - 1].rpartition(".")[2] + "." + ending


def known(host: str) -> bool:
    """Whether the host ends in a suffix of the list, and not just in any word."""
    return host.rpartition(".")[2] in _top()


@lru_cache(maxsize=1)
def _top() -> frozenset[str]:
    return frozenset(rule.rpartition(".")[2] for rule in _rules())
