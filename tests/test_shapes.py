"""Sizes, fields and counts, each against counting; and the shapes of every op, with nothing computed."""

from __future__ import annotations

import dataclasses
import tracemalloc
from typing import Any

import numpy as np
import pytest

import refnn
from refnn.arithmetic.shapes import Shapes, zeros
from refnn.inputs import cases
from refnn.network import Network, Node
from refnn.op import Op, lift

# --- the arithmetic of shapes ----------------------------------------------------------------------------------------


def outlines(op: Op, algorithm: str, case: Any) -> tuple[Any, list[Any]]:
    """The shapes of the output and of the gradients, from shapes alone."""
    forward, vjp = op.algorithm(algorithm)
    ar = Shapes()
    arrays = lift(ar, [x if x is None or x.dtype.kind in "iu" else zeros(x.shape) for x in case.inputs])
    with np.errstate(all="ignore"):
        y = forward(ar, *arrays, **case.params)
        grads = vjp(ar, zeros(y.shape), zeros(y.shape), *arrays, **case.params)
    return y.shape, [None if g is None else g.shape for g in grads]


@pytest.mark.parametrize("name", refnn.ops)
def test_shapes_are_those_of_the_results_and_gradients_have_those_of_the_inputs(name: str) -> None:
    op = refnn.ops[name]
    for case in cases(op, "float32", families=["normal"]):
        for algorithm in ("accurate", *op.classes):
            y, grads = outlines(op, algorithm, case)
            assert y == np.shape(op(*case.inputs, **case.params)), case.id
            for x, declared, g in zip(case.inputs, op.inputs.values(), grads, strict=True):
                assert g is None or g == x.shape, case.id
                assert (g is None) == (x is None or x.dtype.kind in "iu" or not declared.differentiable), case.id


def test_a_gradient_of_another_shape_is_seen() -> None:
    op = refnn.ops["linear"]
    case = next(iter(cases(op, "float32", families=["normal"])))

    def transposed(ar: Any, g: Any, y: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        return ar.dot(g, weight), ar.dot(x.T, g), None

    _, (_, gw, _) = outlines(dataclasses.replace(op, vjp_definition=transposed), "accurate", case)
    assert gw == case.inputs[1].shape[::-1] != case.inputs[1].shape


def test_arrays_that_have_no_product_are_refused() -> None:
    with pytest.raises(ValueError, match=r"arrays of shapes \(2, 3\) and \(4, 5\) have no product"):
        Shapes().dot(zeros((2, 3)), zeros((4, 5)))


def test_shapes_need_no_memory() -> None:
    """katsaros: two layers of 4096 behind a last map of 512 by 7 by 7, as they are in full size."""
    net = Network(
        [
            Node("flatten", "flatten", ("x",)),
            Node("fc6", "linear", ("flatten", "fc6.weight", "fc6.bias")),
            Node("fc7", "linear", ("fc6", "fc7.weight", "fc7.bias")),
        ]
    )
    given = {
        "x": (1, 512, 7, 7),
        **{"fc6.weight": (4096, 25088), "fc6.bias": (4096,), "fc7.weight": (4096, 4096), "fc7.bias": (4096,)},
    }
    tracemalloc.start()
    found = net.infer(given)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == {**given, "flatten": (1, 25088), "fc6": (1, 4096), "fc7": (1, 4096)}
    assert peak < 4096 * 4096 / 16  # a hundredth of the smaller weight in float32 would be more
