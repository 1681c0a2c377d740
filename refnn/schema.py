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
            raise ValueError(f"{where}: the field {twice!r} stands twice in one object")
        return found

    def refuse(constant: str) -> float:
        raise ValueError(f"{where}: {constant} is not JSON")

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=refuse)
    except json.JSONDecodeError as e:
        raise ValueError(f"{where}: it is not JSON ({e.msg} at line {e.lineno}, column {e.colno})") from e
    except (UnicodeDecodeError, RecursionError) as e:
        raise ValueError(f"{where}: it is not JSON ({type(e).__name__})") from e


def check(value: Any, name: str, where: str, part: str = "") -> None:
    """ValueError unless the value is as the schema of that name says, or its part `$defs/PART`."""
    root = schema(name)
    _check(value, root["$defs"][part] if part else root, root, where)


def _check(value: Any, rule: Mapping[str, Any], root: Mapping[str, Any], where: str) -> None:
    if odd := rule.keys() - _KNOWN:
        raise ValueError(f"the schema has {sorted(odd)[0]!r}, which is not checked")
    if "$ref" in rule:
        _check(value, root["$defs"][rule["$ref"].removeprefix("#/$defs/")], root, where)
    if "type" in rule:
        names = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
        if not any(_is(value, n) for n in names):
            raise ValueError(f"{where} is {_shown(value)}, expected {' or '.join(names)}")
    if "const" in rule and (type(value), value) != (type(rule["const"]), rule["const"]):
        raise ValueError(f"{where} is {_shown(value)}, expected {rule['const']!r}")
    if "enum" in rule and value not in rule["enum"]:
        raise ValueError(f"{where} is {_shown(value)}, expected one of {', '.join(map(str, rule['enum']))}")
    if "pattern" in rule and isinstance(value, str) and not _matches(rule["pattern"], value):
        raise ValueError(f"{where} is {_shown(value)}, expected what matches {rule['pattern']}")
    if "minimum" in rule and _is(value, "number") and value < rule["minimum"]:
        raise ValueError(f"{where} is {_shown(value)}, expected at least {rule['minimum']}")
    if isinstance(value, list):
        _check_array(value, rule, root, where)
    if isinstance(value, dict):
        _check_object(value, rule, root, where)


def _check_array(value: list[Any], rule: Mapping[str, Any], root: Mapping[str, Any], where: str) -> None:
    if len(value) < rule.get("minItems", 0):
        raise ValueError(f"{where} has {len(value)} entries, expected at least {rule['minItems']}")
    for i, v in enumerate(value):
        _check(v, rule.get("items", {}), root, f"{where}[{i}]")


def _check_object(value: dict[str, Any], rule: Mapping[str, Any], root: Mapping[str, Any], where: str) -> None:
    if missing := [n for n in rule.get("required", ()) if n not in value]:
        raise ValueError(f"{where} has no field {missing[0]!r}")
    known, others = rule.get("properties", {}), rule.get("additionalProperties", True)
    for n, v in value.items():
        if n not in known and others is False:
            raise ValueError(f"{where} has the unknown field {_shown(n)}, expected only {', '.join(known)}")
        _check(n, rule.get("propertyNames", {}), root, f"the name of a field of {where}")
        _check(v, known.get(n, others if isinstance(others, dict) else {}), root, f"{where}.{n}")


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):  # which is an int to Python
        return name == "boolean"
    return isinstance(value, TYPES[name]) or (name == "integer" and isinstance(value, float) and value.is_integer())


def _matches(pattern: str, text: str) -> bool:
    """As in JavaScript, whose expressions JSON Schema means: there $ is the end, and not also a last line break."""
    return re.search(pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern, text) is not None


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
