"""What a page, a help text or an error tells people to type can be typed: the command, its options, its arguments."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from relay.cli import COMMANDS, cli

ROOT = Path(__file__).resolve().parent.parent
_END = re.compile(r"\s[|&<>#]|[;)]|\s\d?>| -> |, or |  +(?![ -])")
"""Behind the command: of a shell, or of the sentence around it."""


def _of_pages() -> Iterator[tuple[str, str]]:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        fenced = False
        for number, line in enumerate(page.read_text().replace("\\\n", " ").splitlines(), 1):
            if line.lstrip().startswith("```"):
                fenced = not fenced
            elif fenced and (found := re.search(r"(?:^|[|;&$] *)aup-relay (.*)", line.strip())):
                yield f"{page.name}:{number}", found[1]
            elif not fenced:
                for words in re.findall(r"`aup-relay ([a-z]+ [^`]* [^`]*)`", line):
                    yield f"{page.name}:{number}", words


def _texts(source: str) -> Iterator[tuple[int, str]]:
    """Each text of a Python file; X stands for what is put into it."""
    tree = ast.parse(source)
    pieces = {id(piece) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for piece in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(p.value) if isinstance(p, ast.Constant) else "X" for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in pieces:
            yield node.lineno, node.value


def _of_sources() -> Iterator[tuple[str, str]]:
    for file in sorted((ROOT / "relay").rglob("*.py")):
        for number, text in _texts(file.read_text()):
            for line in text.replace("\\\n", " ").splitlines():
                # At the beginning, behind a colon, or in backticks: elsewhere it may be prose.
                for words in re.findall(r"(?:^\s*|: |`)aup-relay ([a-z]+ (?![\d(])[^`]*)", line):
                    if words.split()[0] in COMMANDS:
                        yield f"{file.relative_to(ROOT)}:{number}", words


NAMED = sorted({words: place for place, words in [*_of_sources(), *_of_pages()]}.items())


def _wrong(words: list[str]) -> str:
    """What is wrong with a command line; values are not looked at."""
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group):
        if not words or words[0] == "--help":
            return ""
        if words[0] == "--config":
            del words[:2]
        name = words.pop(0)
        if (below := command.get_command(context, name)) is None:
            return f"no command {name!r}"
        command = below
    if not words or "--help" in words:
        return ""  # its name alone
    try:
        command.make_context("", words)
    except (click.NoSuchOption, click.MissingParameter) as error:
        return error.format_message()
    except click.UsageError as error:
        return error.format_message() if "extra argument" in str(error) or "requires an" in str(error) else ""
    except (click.exceptions.Exit, click.ClickException):
        pass
    return ""


@pytest.mark.parametrize(("words", "place"), NAMED, ids=[place for _, place in NAMED])
def test_a_command_that_is_named_can_be_typed(words: str, place: str) -> None:
    line = re.sub(r"\[[^\]]*\]", "", _END.split(words + " ")[0]).replace("...", "X").rstrip(" .,:")
    assert not (said := _wrong(shlex.split(line))), f"{place}: aup-relay {line}: {said}"
