"""YAML with a place for every value, so that what is wrong can be said as file:line:column.

The configuration and the policy files are read here.  Stricter than YAML 1.1: duplicate keys,
tags, merge keys, keys that are not text and numbers with a second reading (010, 1:30) are
problems; dates stay text.  All problems are collected, none is raised before the end.
"""

from __future__ import annotations

import difflib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Path_ = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)

MOST_VALUES = 200_000
"""Values in one file, aliases counted each time: an alias of an alias of an alias ends here."""
_SECRET = re.compile(r"password|passwd|secret|token|private|credential\Z", re.I)
_USERINFO = re.compile(r"//[^/@\s]*@")
_BRACKETS = re.compile(r"[\[\]{}]")
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)\Z")
_HEX = re.compile(r"[-+]?0x[0-9a-fA-F_]+\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*)?\.?[0-9_]*(?:[eE][-+]?[0-9]+)?\Z")
_TRUE = frozenset({"yes", "true", "on"})


class FileError(Exception):
    """A file that cannot be used; `problems` are its lines, `file:line:column: path: what (got value)`."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class Problem:
    line: int
    column: int
    path: Path_
    what: str

    def say(self, name: str) -> str:
        path = _dotted(self.path)
        return f"{name}:{self.line}:{self.column}: {path + ': ' if path else ''}{self.what}"


@dataclass(slots=True)
class Document:
    """One file as plain dicts, lists and scalars in `data`, and where each of them stands.

    keys, values  path -> (line, column), counted from 1
    raw           path -> the text of a scalar that YAML made a number, a boolean or null
    """

    name: str
    data: Any = None
    problems: list[Problem] = field(default_factory=list)
    keys: dict[Path_, tuple[int, int]] = field(default_factory=dict)
    values: dict[Path_, tuple[int, int]] = field(default_factory=dict)
    raw: dict[Path_, str] = field(default_factory=dict)

    @classmethod
    def read(cls, octets: bytes, name: str) -> Document:
        """Never raises: what is wrong is in `problems`, and `data` is what could be read."""
        self = cls(name)
        try:
            text = octets.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = octets[: error.start]
            self.problems.append(
                Problem(before.count(b"\n") + 1, error.start - before.rfind(b"\n"), (), "not UTF-8 text")
            )
            return self
        if odd := yaml.reader.Reader.NON_PRINTABLE.search(text):
            before_text = text[: odd.start()]
            place = before_text.count("\n") + 1, odd.start() - before_text.rfind("\n")
            self.problems.append(Problem(*place, (), f"a control character (#x{ord(odd[0]):02x})"))
            return self
        try:
            node = _compose(text)
            if node is not None:
                self.data = _Reader(self).value(node, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            self.problems.append(Problem(line, column, (), _syntax(error)))
        except RecursionError:
            self.problems.append(Problem(1, 1, (), "nested too deeply"))
        return self

    def at(self, path: Path_, *, key: bool = False) -> tuple[int, int]:
        """Where the value (or its key) stands; of what is not there, the nearest that holds it."""
        for end in range(len(path), -1, -1):
            known = path[:end]
            first, second = (self.keys, self.values) if key or end < len(path) else (self.values, self.keys)
            if place := first.get(known) or second.get(known):
                return place
        return 1, 1

    def problem(self, path: Path_, what: str, *, key: bool = False) -> None:
        self.problems.append(Problem(*self.at(path, key=key), path, what))

    def lines(self) -> list[str]:
        """Every problem in the order of the file, each once."""
        ordered = sorted(self.problems, key=lambda p: (p.line, p.column, p.what))
        return list(dict.fromkeys(problem.say(self.name) for problem in ordered))

    def check(self, model: type[Model], path: Path_ = (), context: Mapping[str, Any] | None = None) -> Model | None:
        """The value at `path` as a model; None, and problems, if it is not one."""
        found = _try(model, self.get(path), context)
        if isinstance(found, ValidationError):
            self._complain(model, found, path)
            return None
        return found

    def check_partly(
        self, model: type[Model], instead: Mapping[str, Any], context: Mapping[str, Any] | None = None
    ) -> Model | None:
        """`check` of the whole file; where it fails, what is left after the wrong parts were taken
        out, so that rules across settings can be looked at all the same.

        instead  values for settings of the top that are required and missing
        """
        if self.data is not None and not isinstance(self.data, dict):
            self.problem((), "must be a mapping of settings")
            return None
        data = self.data or {}
        found = _try(model, data, context)
        if not isinstance(found, ValidationError):
            return found
        self._complain(model, found, ())
        data = json.loads(json.dumps(data))
        for _ in range(20):
            for error in found.errors(include_url=False, include_context=False):
                _cut(data, _plain(error["loc"]), instead)
            found = _try(model, data, context)
            if not isinstance(found, ValidationError):
                return found
        return None

    def get(self, path: Path_) -> Any:
        value = self.data
        for step in path:
            value = value[step]
        return value

    def check_value(self, model: type[Model], value: Any, path: Path_, also: Iterable[str] = ()) -> Model | None:
        """`check` of a part of what stands at `path`; `also` are names that could have been meant there."""
        found = _try(model, value, None)
        if isinstance(found, ValidationError):
            self._complain(model, found, path, also)
            return None
        return found

    def _complain(
        self, model: type[BaseModel], error: ValidationError, prefix: Path_, also: Iterable[str] = ()
    ) -> None:
        for detail in error.errors(include_url=False):
            if detail["type"] == "too_short" and detail["input"]:
                continue  # its wrong items were not counted; they are reported themselves
            if detail["type"] == "default_factory_not_called":
                continue  # only follows from another problem
            full = prefix + _plain(detail["loc"])
            if any(problem.path == full for problem in self.problems):
                continue  # said already, when it was read
            what = words(model, detail, also=also, raw=self.raw.get(full))
            self.problem(full, what, key=detail["type"] == "extra_forbidden" or detail["loc"][-1:] == ("[key]",))


def words(model: type[BaseModel], detail: ErrorDetails, *, also: Iterable[str] = (), raw: str | None = None) -> str:
    """One of pydantic's errors as a person would say it: `what (got value)`.

    also  names that could have been meant where a setting is unknown
    raw   the text of a scalar that YAML made a number, a boolean or null
    """
    kind, path = detail["type"], _plain(detail["loc"])
    context: Mapping[str, Any] = detail.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown setting{near(str(path[-1]), [*names(model, path[:-1]), *also])}"
    if kind == "missing":
        return "missing"
    value = detail["input"]
    if kind in ("literal_error", "enum"):
        what = f"must be {context['expected']}"
        if isinstance(value, str):
            what += near(value, re.findall(r"'([^']*)'", str(context["expected"])))
    elif kind == "value_error":
        what = str(context["error"])
    elif kind in _WORDS:
        what = _WORDS[kind].format(**context)
    else:
        what = detail["msg"][:1].lower() + detail["msg"][1:]
    if kind == "string_type" and raw is not None:
        what += "; put it in quotes"
    if isinstance(path[-1] if path else None, str) and _SECRET.search(str(path[-1])):
        return what  # secrets are never shown, misplaced ones neither
    return what + _got(value, raw)


def _got(value: Any, raw: str | None) -> str:
    if isinstance(value, dict):
        return " (got a mapping)"
    if isinstance(value, list):
        return " (got a list)"
    if isinstance(value, str):
        if "-----BEGIN" in value:
            return ""
        value = _USERINFO.sub("//...@", value)
        return f" (got {value[:60]!r}{'...' if len(value) > 60 else ''})"
    if raw is not None:
        return f" (got {raw})"
    return f" (got {json.dumps(value)})"


def _dotted(path: Path_) -> str:
    """listen.0.port; nothing in it that a terminal would act on."""
    return "".join(c if c.isprintable() else "?" for c in ".".join(map(str, path)))[:200]


def near(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'x'?" or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


_WORDS = {
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "too_short": "must not be empty",
    "path_type": "must be a path",
    "date_type": "must be a date, such as 2026-12-31",
    "date_parsing": "must be a date, such as 2026-12-31",
    "date_from_datetime_parsing": "must be a date, such as 2026-12-31",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
}


_SCALARS = frozenset({"str", "null", "bool", "int", "float", "timestamp", "value", "merge"})
"""Kinds that YAML knows without a tag; dates and lone `=` and `<<` stay text."""


class _Reader:
    """Nodes of PyYAML -> plain values; marks and problems go into the document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._inside: set[int] = set()
        self._count = 0

    def value(self, node: yaml.Node, path: Path_) -> Any:
        self._document.values[path] = _place(node)
        self._count += 1
        if self._count > MOST_VALUES:
            what = "too many values (aliases counted each time)"
            raise yaml.MarkedYAMLError(problem=what, problem_mark=node.start_mark)
        if id(node) in self._inside:
            self._document.problem(path, "an alias that holds itself")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self._document.problem(path, "tags are not read here")
        self._inside.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        finally:
            self._inside.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        found: dict[str, Any] = {}
        document = self._document
        for key_node, value_node in node.value:
            line, column = _place(key_node)
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None or key_node.tag != "tag:yaml.org,2002:str":
                what = "a key must be text"
                if key_node.tag.endswith(":merge"):
                    what = "merge keys (<<) are not read here; write the settings out"
                elif key is not None:
                    what += f"; put it in quotes (got {key})"
                document.problems.append(Problem(line, column, path, what))
                continue
            here = (*path, key)
            if key in found:
                first = document.keys[here][0]
                document.problems.append(Problem(line, column, here, f"stands here twice; first in line {first}"))
                continue
            document.keys[here] = line, column
            found[key] = self.value(value_node, here)
        return found

    def _scalar(self, node: yaml.ScalarNode, path: Path_) -> Any:
        text, tag = str(node.value), node.tag.removeprefix("tag:yaml.org,2002:")
        document = self._document
        if tag not in _SCALARS:
            document.problem(path, "tags are not read here")
            return text
        if tag in ("null", "bool", "int", "float"):
            document.raw[path] = text
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() in _TRUE
        if tag == "int":
            if _DECIMAL.match(text):
                return int(text.replace("_", ""))
            if _HEX.match(text):
                return int(text.replace("_", ""), 16)
            document.problem(path, f"a number with two readings; put it in quotes or write it plainly (got {text})")
            return None
        if tag == "float" and _FLOAT.match(text):
            try:
                return float(text.replace("_", ""))
            except ValueError:
                pass
        if tag == "float":
            document.problem(path, f"not a plain number (got {text})")
            return None
        if any("\ud800" <= c <= "\udfff" for c in text):
            document.problem(path, "half a character (a lone surrogate)")
            return ""
        return text


def _compose(text: str) -> yaml.Node | None:
    """libyaml where it is there, thirty times as fast; what it refuses PyYAML reads again, so that the
    messages are the same everywhere.  libyaml is not asked for what could exhaust its stack."""
    fast = getattr(yaml, "CSafeLoader", None)
    if fast is not None and _shallow(text):
        try:
            return yaml.compose(text, Loader=fast)
        except yaml.YAMLError:
            pass
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _shallow(text: str) -> bool:
    depth = 0
    for bracket in _BRACKETS.findall(text):
        depth += 1 if bracket in "[{" else -1
        if depth > 200:
            return False
    return max(map(len, text.splitlines()), default=0) < 2000  # blocks are as deep as their lines are long


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "cannot be read"
    if "'\\t'" in problem:
        return "a tab; YAML is indented with spaces"
    if "undefined alias" in problem:
        problem = "an alias (*) of something that has no anchor (&); put text with * in quotes"
    if "single document" in (error.context or ""):
        problem = "a second document (---) in one file"
    return f"not YAML: {problem}" if not problem.startswith("too many") else problem


def _try(model: type[Model], data: Any, context: Mapping[str, Any] | None) -> Model | ValidationError:
    """Strict, but by JSON's rules: a list can be a set or a tuple, text can be a date or a path."""
    try:
        return model.model_validate_json(json.dumps(data), strict=True, context=dict(context or {}))
    except ValidationError as error:
        return error


def _plain(loc: tuple[int | str, ...]) -> Path_:
    return loc[:-1] if loc[-1:] == ("[key]",) else loc


def _cut(data: dict[str, Any], path: Path_, instead: Mapping[str, Any]) -> None:
    """Take out the innermost setting on the way to `path`: of a list, all of it, since places must stay."""
    holders: list[tuple[dict[str, Any], str]] = []
    here: Any = data
    for step in path:
        if isinstance(here, dict) and step in here:
            holders.append((here, str(step)))
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            break
    top = str(path[0]) if path else ""
    if len(holders) < 2 and top in instead:
        data[top] = instead[top]
    elif holders:
        holder, key = holders[-1]
        del holder[key]


def names(model: Any, path: Path_) -> list[str]:
    """The settings that may stand at `path` of a model."""
    for step in path:
        model = _inner(model, step)
        if model is None:
            return []
    model = _bare(model)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return [info.alias or name for name, info in model.model_fields.items()]
    return []


def _inner(model: Any, step: str | int) -> Any:
    model = _bare(model)
    if isinstance(model, type) and issubclass(model, BaseModel):
        for name, info in model.model_fields.items():
            if step in (info.alias, name):
                return info.annotation
        return None
    arguments = typing.get_args(model)
    return arguments[-1] if arguments and arguments[-1] is not Ellipsis else (arguments[0] if arguments else None)


def _bare(model: Any) -> Any:
    """The type within Annotated[...] and X | None."""
    while True:
        origin = typing.get_origin(model)
        if origin is typing.Annotated:
            model = typing.get_args(model)[0]
        elif origin in (typing.Union, types.UnionType):
            model = next((a for a in typing.get_args(model) if a is not type(None)), None)
        else:
            return model


def refuse(error: type[FileError], documents: Iterable[Document]) -> None:
    """Raise `error` with the problems of all documents, if there are any."""
    if lines := [line for document in documents for line in document.lines()]:
        raise error(lines)
