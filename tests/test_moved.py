"""Old names, for one version: each works as the new one, and warns of it. Case ids, parsed where they are made."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

import refnn
from refnn._moved import MOVED
from refnn.arithmetic.floats import Floats
from refnn.ids import CaseId


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_path_is_the_new_module(old: str) -> None:
    code = f"import refnn.{old} as old, refnn.{MOVED[old]} as new; assert old is new"
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"DeprecationWarning: refnn.{old} is refnn.{MOVED[old]} now" in done.stderr


def test_the_package_of_ops_is_its_catalogue() -> None:
    inner = importlib.import_module("refnn.ops._conv")
    assert refnn.ops._conv is inner and refnn.ops["softmax"] is refnn.softmax and "softmax" in refnn.ops
    assert "_conv" not in refnn.ops and len(refnn.ops) == len(list(refnn.ops)) > 50


def forward(ar: Any, x: Any) -> Any:
    return x * x


def vjp(ar: Any, g: Any, y: Any, x: Any) -> Any:
    return (ar.product(2, g, x),)


@pytest.mark.parametrize("named", [True, False])
def test_an_old_record_is_a_new_one(named: bool) -> None:
    parts = ({"x": refnn.Input()}, lambda inputs, params: None, ({"shapes": {"x": (5,)}, "params": {}},))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if named:
            rest = dict(zip(("inputs", "validate", "variants"), parts, strict=True))
            op = refnn.Op(name="square", forward=forward, vjp_definition=vjp, classes={}, **rest)  # type: ignore[call-arg]
        else:
            op = refnn.Op("square", forward, vjp, *parts)  # type: ignore[arg-type]
    told = [str(w.message).partition(" is ")[0] for w in said]
    assert told == [*(["Op(forward=...)", "Op(classes=...)"] if named else []), "a variant as a mapping"]
    assert op.variants == (refnn.Variant({"x": (5,)}),) and not op.algorithms
    x = np.array([3.0])
    with pytest.warns(DeprecationWarning, match="forward_definition"):
        assert op.forward(Floats(np.float64), x) == 9
    with pytest.warns(DeprecationWarning, match="op.algorithms"):
        assert op.classes is op.algorithms  # type: ignore[attr-defined]
    with pytest.warns(DeprecationWarning, match="variant.shapes"):
        assert op.variants[0]["shapes"] == {"x": (5,)}  # type: ignore[index]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert op.forward(x) == 9 and op.vjp(np.array([1.0]), x) == (6,)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("relu/float32/normal/x=5x7/random/0", CaseId("relu", "float32", "normal", "x=5x7", "random", 0)),
        ("relu/float32/limits/exp-finite/last", CaseId("relu", "float32", "limits", "exp-finite/last")),
        ("relu/float32/smoke/x=7", CaseId("relu", "float32", "smoke", "x=7")),
    ],
)
def test_an_id_is_read_as_it_was_made(text: str, parts: CaseId) -> None:
    assert CaseId.parse(text) == parts and str(parts) == text


def test_what_is_no_id_has_empty_parts() -> None:
    assert CaseId.parse("relu") == CaseId("relu") and CaseId.parse("a/b") == CaseId("a", "b")


def test_every_case_of_a_check_has_an_id_that_names_it() -> None:
    found = list(refnn.cases("softmax", "float32"))
    assert len(found) > 50
    for case in found:
        named = CaseId.parse(case.id)
        assert (named.op, named.dtype, named.family, named.seed) == ("softmax", "float32", case.family, 0)
