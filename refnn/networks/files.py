"""Folders that hold a network: a document, and beside it its sets of weights, with the SHA-256 of each.

    network.json          as conformance/schema/network.schema.json says: nodes and inputs, `weights` (the SHA-256 of
                          the file of each set), and `sha256`, that of json.dumps(all the rest, sort_keys=True) in UTF-8
    <set>.safetensors     one set of weights

What was changed after it was saved is refused, and so is what a newer refnn wrote; each in one sentence that names the
file: FileNotFoundError for one that is missing, ValueError for one that is wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from refnn.wire.schema import check, parse

NAME = "network.json"
SCHEMA = 1
Weights = Mapping[str, Mapping[str, np.ndarray]]


def digest(document: Mapping[str, Any]) -> str:
    """The SHA-256 of a document, without the field that says it."""
    rest = {k: v for k, v in document.items() if k != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, default=_refuse).encode()).hexdigest()


def _refuse(value: Any) -> Any:
    raise TypeError(f"{NAME} cannot hold {value!r}, a {type(value).__name__}: expected what JSON has")


def write(folder: Path, fields: Mapping[str, Any], weights: Weights) -> None:
    """Write the fields and the sets of weights. ValueError or TypeError says what cannot be written."""
    from safetensors.numpy import save

    sets = {n: save({k: np.ascontiguousarray(v) for k, v in arrays.items()}) for n, arrays in weights.items()}
    document = {"schema": SCHEMA, **fields, "weights": {n: hashlib.sha256(s).hexdigest() for n, s in sets.items()}}
    document["sha256"] = digest(document)
    text = json.dumps(document, indent=1)
    check(parse(text, NAME), "network", NAME)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in sets.items():
        (folder / f"{name}.safetensors").write_bytes(data)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> tuple[dict[str, Any], Weights]:
    """The fields and the sets of weights that a folder holds, as they were saved."""
    path = folder / NAME
    document = parse(_bytes(path), str(path))
    written = document.get("schema") if isinstance(document, dict) else None
    if type(written) is int and written > SCHEMA:
        raise ValueError(f"{path} has schema {written}, of a newer refnn: this one reads schemas up to {SCHEMA}")
    check(document, "network", str(path))
    _compare(path, digest(document), document["sha256"])
    weights = {n: _arrays(folder / f"{n}.safetensors", expected) for n, expected in document["weights"].items()}
    return {k: v for k, v in document.items() if k not in ("schema", "weights", "sha256")}, weights


def _arrays(path: Path, expected: str) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = _bytes(path)
    _compare(path, hashlib.sha256(data).hexdigest(), expected)
    try:
        return load(data)
    except SafetensorError as e:
        raise ValueError(f"{path} is no safetensors file: {e}") from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no {path}") from None


def _compare(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise ValueError(f"{path} was changed after it was saved: its SHA-256 is {found}, expected {expected}")
