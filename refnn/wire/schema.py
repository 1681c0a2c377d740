"""Checking JSON against a JSON Schema, with one sentence for what is wrong.

The schemas of `conformance/schema/` are the one statement of which fields there are. fastjsonschema compiles them; its
exceptions say which rule is broken where, and this module makes a sentence of that, with the value.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fastjsonschema

from refnn.conformance import data


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


def check(value: Any, name: str, where: str, part: str = "") -> None:
    """ValueError unless the value is as the schema of that name says, or its part `$defs/PART`."""
    root = schema(name)
    try:
        _compiled(name, part)(value)
    except fastjsonschema.JsonSchemaValueException as e:
        raise ValueError(f"{where}{_sentence(e, root)}") from None


@functools.cache
def _compiled(name: str, part: str) -> Callable[[Any], Any]:
    root = schema(name)
    return _compile(root, {"$ref": f"#/$defs/{part}"} if part else root)


def _compile(root: Mapping[str, Any], rule: Mapping[str, Any]) -> Callable[[Any], Any]:
    """What checks a value against a rule of a schema, which may refer to the schema's parts."""
    whole = {"$id": root["$id"], "$defs": root.get("$defs", {}), **rule}
    return fastjsonschema.compile(copy.deepcopy(whole), use_default=False)  # a copy, because compiling rewrites it


def _sentence(e: fastjsonschema.JsonSchemaValueException, root: Mapping[str, Any]) -> str:
    """The place of what is wrong, in the value that was checked, and what is wrong with it."""
    value, wanted, place = e.value, e.rule_definition, str(e.name).removeprefix("data")
    match e.rule:
        case "type":
            expected = " or ".join(wanted if isinstance(wanted, list) else [wanted])
        case "const":
            expected = repr(wanted)
        case "enum":
            expected = f"one of {', '.join(map(str, wanted))}"
        case "pattern":
            expected = f"what matches {wanted}"
        case "minimum":
            expected = f"at least {wanted}"
        case "minItems":
            return f"{place} has {len(value)} entries, expected at least {wanted}"
        case "required":
            return f"{place} has no field {next(n for n in wanted if n not in value)!r}"
        case "additionalProperties":
            known = e.definition["properties"]
            unknown = next(n for n in value if n not in known)
            return f"{place} has the unknown field {_shown(unknown)}, expected only {', '.join(known)}"
        case "propertyNames":  # which of them, and why, the exception does not say
            names = _compile(root, wanted)
            for n in value:
                try:
                    names(n)
                except fastjsonschema.JsonSchemaValueException as name:
                    return f"{place}.{n}{_sentence(name, root)}"
            raise AssertionError(f"{place}: every name is as {wanted} says")
        case other:
            raise AssertionError(f"the schema has {other!r}, for which there is no sentence")
    return f"{place} is {_shown(value)}, expected {expected}"


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
