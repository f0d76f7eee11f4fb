"""What the readers of returned mail find in samples that nobody here wrote: `python -m tests.quality.feedback`.

    python -m tests.quality.feedback --set ~/p5-sisimai              its set-of-emails, against its own tests
    python -m tests.quality.feedback --set ~/flufl_bounce-6.0.0      tests/data, against its table of addresses
    python -m tests.quality.feedback --set ~/Mail-DeliveryStatus-BounceParser
    python -m tests.quality.feedback --set ~/samples --list          any folder: what was found in each file
    python -m tests.quality.feedback --set ~/p5-sisimai --misses     what differs from what is expected

What a set expects is read from its own tests and never copied.  Kinds: its "feedback" is a complaint (an unsubscribe
where the report says opt-out, other for auth-failure), its "vacation" automatic, its "delivered" delivered, everything
else a bounce or a delay.  hard is right where the set says hard bounce; soft and policy are told apart by its reasons.
docs/quality.md has the sets, their licences, and what was measured.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from relay.feedback import Heard, read

OURS = "feedback@bounces.example"
POLICY = frozenset(
    {"authfailure", "badreputation", "blocked", "norelaying", "policyviolation", "rejected", "requireptr",
     "spamdetected", "securityerror", "speeding", "contenterror", "virusdetected", "notcompliantrfc", "ratelimited",
     "toomanyconn", "failedstarttls"}
)  # fmt: skip
"""Reasons of Sisimai that are about the sender or the message."""
KINDS = {"feedback": "complaint", "vacation": "automatic", "delivered": "delivered"}
TYPES = {"opt-out": "unsubscribe", "auth-failure": "other", "dmarc": "other", "not-spam": "other"}


@dataclass
class Sample:
    """kinds, recipients, permanences: what the set expects, empty where it says nothing."""

    path: Path
    kinds: list[str] = field(default_factory=list)
    recipients: set[str] | None = None
    permanences: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)


# -- the sets -------------------------------------------------------------------------------
_ENGINE = re.compile(r"\$enginename\s*=\s*'([^']+)'")
_ENTRY = re.compile(r"'(\d\d+)'\s*=>\s*\[((?:\s*\[[^\]]*\],?)+)\s*\]")
_ROW = re.compile(r"\[([^\]]*)\]")


def sisimai(folder: Path) -> Iterator[Sample]:
    """p5-sisimai: t/NNN-lhost-NAME.t says what set-of-emails/maildir/bsd/lhost-NAME-NN.eml holds."""
    for script in sorted((folder / "t").glob("[36-8]*-*.t")):
        text = re.sub(r"(?m)^\s*#.*$", "", script.read_text(errors="replace"))
        engine = _ENGINE.search(text)
        if engine is None:
            continue
        stem = script.stem.partition("-")[2]
        for number, rows in _ENTRY.findall(text):
            path = folder / "set-of-emails/maildir/bsd" / f"{stem}-{number}.eml"
            if not path.exists():
                continue
            sample = Sample(path)
            for row in _ROW.findall(rows):
                values = re.findall(r"'([^']*)'|\b(\d)\b", row)
                cells = [a or b for a, b in values]
                status, reason, hard = cells[0], cells[2], cells[3]
                kind = {"feedback": "complaint", "vacation": "automatic", "delivered": "delivered"}.get(
                    reason, "bounce"
                )
                if kind == "complaint" and len(cells) > 4:
                    kind = TYPES.get(cells[4], kind)
                sample.kinds.append(kind)
                sample.reasons.append(reason)
                sample.statuses.append(status)
                if kind == "bounce":
                    sample.permanences.append("hard" if hard == "1" else "policy" if reason in POLICY else "soft")
            yield sample


def flufl(folder: Path) -> Iterator[Sample]:
    """flufl.bounce: the table DETECTORS of tests/test_detectors.py."""
    text = (folder / "tests/test_detectors.py").read_text()
    found: dict[str, tuple[set[str], bool]] = {}
    pattern = re.compile(r"\(\s*'\w+',\s*'([\w.]+)',\s*\[([^\]]*)\],\s*(True|False),?\s*\)", re.DOTALL)
    for name, addresses, temporary in pattern.findall(text):
        given = {one.lower() for one in re.findall(r"b'([^']+)'", addresses)}
        known = found.get(name, (set(), True))
        found[name] = (known[0] | given, known[1] and temporary == "True")
    for name, (addresses, _) in sorted(found.items()):
        yield Sample(folder / "tests/data" / name, ["bounce"] * len(addresses), addresses)


def bounceparser(folder: Path) -> Iterator[Sample]:
    """Mail::DeliveryStatus::BounceParser: t/*.t, where they name a file and what it is."""
    for path in sorted((folder / "t/corpus").glob("*.msg")):
        yield Sample(path)


def loose(folder: Path) -> Iterator[Sample]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield Sample(path)


def samples(folder: Path) -> Iterator[Sample]:
    if (folder / "set-of-emails/maildir/bsd").is_dir() and (folder / "t").is_dir():
        return sisimai(folder)
    if (folder / "tests/test_detectors.py").exists():
        return flufl(folder)
    if (folder / "t/corpus").is_dir():
        return bounceparser(folder)
    return loose(folder)


# -- the comparison ---------------------------------------------------------------------------
@dataclass
class Count:
    files: int = 0
    expected: int = 0
    kind: int = 0
    recipients_expected: int = 0
    recipients: int = 0
    permanence: Counter[tuple[str, str]] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    misses: list[str] = field(default_factory=list)
    seconds: float = 0.0


def kind(heard: Heard) -> str:
    return "bounce" if heard.kind == "delay" else heard.kind


def compare(sample: Sample, heard: tuple[Heard, ...], count: Count) -> None:
    count.files += 1
    count.kinds.update(one.kind for one in heard)
    if sample.kinds:
        count.expected += 1
        if set(map(kind, heard)) == set(sample.kinds):
            count.kind += 1
        else:
            count.misses.append(f"{sample.path.name}: kind {sorted({one.kind for one in heard})}, not {sample.kinds}")
    if sample.recipients is not None:
        count.recipients_expected += 1
        got = {one.recipient.lower() for one in heard if one.recipient}
        if got == sample.recipients:
            count.recipients += 1
        else:
            count.misses.append(f"{sample.path.name}: recipients {sorted(got)}, not {sorted(sample.recipients)}")
    elif sample.kinds and sample.kinds[0] == "bounce":
        count.recipients_expected += 1
        got = {one.recipient.lower() for one in heard if one.recipient}
        if got and len(heard) == len(sample.kinds):
            count.recipients += 1
        else:
            count.misses.append(f"{sample.path.name}: recipients {sorted(got)}, {len(sample.kinds)} expected")
    if sample.permanences:
        told = [one.permanence for one in heard if kind(one) == "bounce"]
        if len(told) == len(sample.permanences):
            for was, got_, reason in zip(sorted(sample.permanences), sorted(told), sorted(sample.reasons), strict=True):
                count.permanence[was, got_] += 1
                if (was == "hard") != (got_ == "hard"):
                    text = " | ".join(f"{one.status} {one.code} {one.diagnostic[:160]}" for one in heard)
                    count.misses.append(f"{sample.path.name}: {got_}, not {was} ({reason} {sample.statuses}): {text}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", required=True, type=Path, dest="sets")
    parser.add_argument("--misses", action="store_true")
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args(arguments)
    for folder in given.sets:
        count = Count()
        for sample in samples(folder):
            raw = sample.path.read_bytes()
            begun = time.perf_counter()
            heard = read(raw, OURS)
            count.seconds += time.perf_counter() - begun
            compare(sample, heard, count)
            if given.list:
                for one in heard:
                    print(
                        f"{sample.path.name}\t{one.kind}\t{one.permanence}\t{one.recipient}\t{one.status}\t{one.code}\t"
                        f"{one.diagnostic[:100]}"
                    )
        print(f"\n{folder.name}: {count.files} files, {count.seconds / max(1, count.files) * 1e3:.2f} ms each")
        print("  kinds found:", ", ".join(f"{name} {number}" for name, number in count.kinds.most_common()))
        if count.expected:
            print(f"  kinds as expected: {count.kind} of {count.expected}")
        if count.recipients_expected:
            print(f"  recipients as expected: {count.recipients} of {count.recipients_expected}")
        if count.permanence:
            print("  permanence (expected -> found):")
            for (was, got), number in sorted(count.permanence.items()):
                print(f"    {was:7} {got:7} {number}")
        if given.misses:
            print("\n".join(f"  {line}" for line in count.misses))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
