"""Mistakes in a record of one's own: each gets one sentence, before anything is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import refnn
from refnn import Input, Op
from refnn.op import Special


def forward(ar: Any, x: Any, residual: Any, *, scale: float = 0.5) -> Any:
    return residual + ar.real(scale) * ar.relu(x)


def vjp(ar: Any, g: Any, y: Any, x: Any, residual: Any, *, scale: float = 0.5) -> Any:
    return ar.branch(x, g * ar.real(scale), 0), g


def validate(inputs: Any, params: Any) -> None:
    if inputs["x"].shape != inputs["residual"].shape:
        raise ValueError(f"x has shape {inputs['x'].shape}, residual {inputs['residual'].shape}")


def record(**changes: Any) -> Op:
    given: dict[str, Any] = {
        "name": "scaled_relu",
        "forward": forward,
        "vjp_definition": vjp,
        "inputs": {"x": Input(), "residual": Input()},
        "validate": validate,
        "variants": ({"shapes": {"x": (3, 5), "residual": (3, 5)}, "params": {"scale": 0.3}},),
        "kinks": {"relu'(0)=0": 0.0, "relu'(0)=1": 1.0},
    }
    return Op(**{**given, **changes})


def check(op: Op) -> refnn.Report:
    return refnn.check(op, forward=op, vjp=op.vjp, dtype="float32")


def test_a_right_record_conforms_and_is_verified_once() -> None:
    op = record()
    assert check(op).ok
    assert check(op).elements > 100
    off = refnn.check(op, forward=lambda x, r, scale: op(x, r, scale=scale) + np.spacing(r) * 4, dtype="float32")
    assert "violation" in {f.verdict for f in off.findings}


def variant(**parts: Any) -> tuple[Any, ...]:
    return ({"shapes": {"x": (3,), "residual": (3,)}, "params": {}, **parts},)


def with_vjp(definition: Callable[..., Any]) -> Callable[[], Any]:
    def wrong(ar: Any, g: Any, y: Any, x: Any, residual: Any, *, scale: float = 0.5) -> Any:
        return definition(ar, g, y, x, residual, scale)

    return lambda: check(record(vjp_definition=wrong))


def with_forward(definition: Callable[..., Any]) -> Callable[[], Any]:
    def wrong(ar: Any, x: Any, residual: Any, *, scale: float = 0.5) -> Any:
        return definition(ar, x, residual, scale)

    return lambda: check(record(forward=wrong))


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "name": (lambda: record(name="scaled relu"), "op name 'scaled relu' is not an identifier"),
    "no variants": (lambda: record(variants=()), "has no variants: nothing would be checked"),
    "inputs": (lambda: record(inputs={"x": Input()}), "forward takes ['x', 'residual'], but its inputs are ['x']"),
    "shapes": (
        lambda: record(variants=variant(shapes={"x": (3,)})),
        "a variant has the shapes {'x': (3,)}, expected ['x', 'residual']",
    ),
    "parameter": (
        lambda: record(variants=variant(params={"slope": 1})),
        "a variant has the params {'slope': 1}, expected ['scale']",
    ),
    "no params": (lambda: record(variants=({"shapes": {"x": (3,), "residual": (3,)}},)), "has the params None"),
    "signature": (lambda: record(vjp_definition=lambda ar, g, y, x: (g, g)), "takes ['ar', 'g', 'y', 'x'], unlike"),
    "default": (
        lambda: record(vjp_definition=lambda ar, g, y, x, residual, *, scale=2.0: (g, g)),
        "has the defaults {'scale': 2.0}, unlike forward",
    ),
    "refused": (
        lambda: check(record(variants=variant(shapes={"x": (3, 5), "residual": (5,)}))),
        "validate refuses its own case scaled_relu/float64/normal/x=3x5,residual=5/",
    ),
    "kind": (lambda: check(record(inputs={"x": Input("reel"), "residual": Input()})), "kind 'reel' is not one of"),
    "no primitive": (
        with_forward(lambda ar, x, r, s: ar.gelu(x) + r),
        "no case can be drawn, AttributeError: 'Floats' object has no attribute 'gelu'",
    ),
    "float literal": (with_forward(lambda ar, x, r, s: r + 0.5 * ar.relu(x)), "expected an integer or ar.real(...)"),
    "comparison": (with_forward(lambda ar, x, r, s: r + x * (x > 0)), "the forward raised TypeError in Balls"),
    "bare gradient": (with_vjp(lambda ar, g, y, x, r, s: g), "the vjp returns a ndarray, expected a tuple of 2"),
    "one gradient": (with_vjp(lambda ar, g, y, x, r, s: (g,)), "the vjp returns a tuple of 1, expected a tuple of 2"),
    "shape": (
        with_vjp(lambda ar, g, y, x, r, s: (g, ar.sum(g, 0))),
        "the gradient for residual has shape (5,), expected (3, 5)",
    ),
    "no gradient": (with_vjp(lambda ar, g, y, x, r, s: (g, None)), "the gradient for residual has shape None"),
    "derivative": (
        with_vjp(lambda ar, g, y, x, r, s: (ar.branch(x, g, 0), g)),
        "but the derivative of the forward is",
    ),
    "always at a kink": (
        with_forward(lambda ar, x, r, s: r + ar.relu(x - x)),
        "the complex step finds no derivative for x anywhere in scaled_relu/float64/normal/",
    ),
    "row": (
        lambda: record(special=(Special(([1.0], [2.0]), [None], ([None], None), "nothing"),)),
        "the row ([1.0], [2.0]) of special values lets anything pass",
    ),
    "class": (
        lambda: check(replace(record(), classes={"other": (forward, with_scale_forgotten)})),
        "op 'scaled_relu', other: the vjp gives",
    ),
}


def with_scale_forgotten(ar: Any, g: Any, y: Any, x: Any, residual: Any, *, scale: float = 0.5) -> Any:
    return ar.branch(x, g, 0), g


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_in_a_record_is_one_sentence(what: str) -> None:
    call, sentence = MISTAKES[what]
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
