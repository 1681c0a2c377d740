"""Checking JSON against a JSON Schema, with one sentence for what is wrong.

The schemas of `conformance/schema/` are the one statement of which fields there are. They use `type`, `const`, `enum`,
`pattern`, `minimum`, `items`, `minItems`, `properties`, `required`, `additionalProperties`, `propertyNames` and local
`$ref`; whatever else a schema holds is an error here, so that nothing is believed to be checked that is not.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refnn.conformance import data

TYPES: Mapping[str, Any] = {
    "null": type(None),
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "string": str,
    "array": list,
    "object": dict,
}
_KNOWN = {"$schema", "$id", "$defs", "$ref", "title", "description", "type", "const", "enum", "pattern", "minimum"} | {
    "items",
    "minItems",
    "properties",
    "required",
    "additionalProperties",
    "propertyNames",
}


@functools.cache
def schema(name: str) -> Mapping[str, Any]:
    """The schema of that name in `conformance/schema/`."""
    return json.loads(data("schema", f"{name}.schema.json").read_text(encoding="utf-8"))


def parse(text: str | bytes, where: str) -> Any:
    """The JSON value of a text. ValueError says where it is malformed; NaN, infinities and a name that stands twice in
    one object are."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            names = [n for n, _ in items]
            twice = next(n for n in names if names.count(n) > 1)
            raise ValueError(f"{where}: the field {twice!r} occurs twice in one object")
        return found

    def refuse(constant: str) -> float:
        raise ValueError(f"{where}: {constant} is not JSON")

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=refuse)
    except json.JSONDecodeError as e:
        raise ValueError(f"{where}: it is not JSON ({e.msg} at line {e.lineno}, column {e.colno})") from e
    except (UnicodeDecodeError, RecursionError) as e:
        raise ValueError(f"{where}: it is not JSON ({type(e).__name__})") from e


class _Wrong(Exception):
    """What is wrong, and the path to it, which is put together on the way out: most of the time nothing is wrong."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.path: list[str] = []


def check(value: Any, name: str, where: str, part: str = "") -> None:
    """ValueError unless the value is as the schema of that name says, or its part `$defs/PART`."""
    root = schema(name)
    try:
        _check(value, root["$defs"][part] if part else root, root.get("$defs", {}))
    except _Wrong as e:
        raise ValueError(f"{where}{''.join(reversed(e.path))} {e}") from None


def _check(value: Any, rule: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    for word, wanted in rule.items():
        if word == "$ref":
            _check(value, parts[wanted.removeprefix("#/$defs/")], parts)
        elif word == "type":
            names = wanted if isinstance(wanted, list) else [wanted]
            if not any(_is(value, n) for n in names):
                raise _Wrong(f"is {_shown(value)}, expected {' or '.join(names)}")
        elif word == "const":
            if (type(value), value) != (type(wanted), wanted):
                raise _Wrong(f"is {_shown(value)}, expected {wanted!r}")
        elif word == "enum":
            if value not in wanted:
                raise _Wrong(f"is {_shown(value)}, expected one of {', '.join(map(str, wanted))}")
        elif word == "pattern":
            if isinstance(value, str) and not _matches(wanted, value):
                raise _Wrong(f"is {_shown(value)}, expected what matches {wanted}")
        elif word == "minimum":
            if _is(value, "number") and value < wanted:
                raise _Wrong(f"is {_shown(value)}, expected at least {wanted}")
        elif word not in _KNOWN:
            raise ValueError(f"the schema has {word!r}, which is not checked")
    if isinstance(value, list):
        _check_array(value, rule, parts)
    elif isinstance(value, dict):
        _check_object(value, rule, parts)


def _check_array(value: list[Any], rule: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    if len(value) < rule.get("minItems", 0):
        raise _Wrong(f"has {len(value)} entries, expected at least {rule['minItems']}")
    if "items" not in rule:
        return
    for i, v in enumerate(value):
        try:
            _check(v, rule["items"], parts)
        except _Wrong as e:
            e.path.append(f"[{i}]")
            raise


def _check_object(value: dict[str, Any], rule: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    for n in rule.get("required", ()):
        if n not in value:
            raise _Wrong(f"has no field {n!r}")
    known, others, names = rule.get("properties", {}), rule.get("additionalProperties", True), rule.get("propertyNames")
    for n, v in value.items():
        if n not in known and others is False:
            raise _Wrong(f"has the unknown field {_shown(n)}, expected only {', '.join(known)}")
        own = known.get(n, others)
        try:
            if names is not None:
                _check(n, names, parts)
            if not isinstance(own, bool):
                _check(v, own, parts)
        except _Wrong as e:
            e.path.append(f".{n}")
            raise


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):  # which is an int to Python
        return name == "boolean"
    return isinstance(value, TYPES[name]) or (name == "integer" and isinstance(value, float) and value.is_integer())


def _matches(pattern: str, text: str) -> bool:
    return _compiled(pattern).search(text) is not None


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """As in JavaScript, whose expressions JSON Schema means: there $ is the end, and not also a last line break."""
    return re.compile(pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def inside(folder: Path, path: str, where: str) -> Path:
    """The file of that relative path, if it lies inside the folder and exists; ValueError otherwise."""
    file = (folder / path).resolve()
    if Path(path).is_absolute() or folder.resolve() not in file.parents:
        raise ValueError(f"{where}: the path {path!r} leaves its folder")
    if not file.is_file():
        raise ValueError(f"{where}: there is no file {path!r}")
    return file
