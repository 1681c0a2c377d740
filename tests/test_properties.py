"""Any input at all: the reference, an evaluation of the accurate class, is never outside its worst case.

Hypothesis looks for a counterexample among arrays that mix ordinary numbers with zeros, subnormals, neighbours of the
limits and the largest numbers; derandomised, so that a run can be repeated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from marks import in_every

import refnn
from refnn.formats import FORMATS, Format
from refnn.op import Drawn
from refnn.ops import OPS

SETTINGS = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
NEVER = ("violation", "special", "error", "explained")


def numbers(fmt: Format) -> st.SearchStrategy[float]:
    """Finite numbers of a format, its limits and their neighbours often among them."""
    width = {"float16": 16, "bfloat16": 16, "float32": 32, "float64": 64}[fmt.name]
    edges = [0.0, -0.0, 1.0, fmt.max, fmt.smallest_normal, fmt.smallest_subnormal, 88.72284, -103.97, 2.0**-12]
    limits = [e for e in edges if e <= fmt.max]
    anything = st.floats(-fmt.max, fmt.max, width=width, allow_nan=False) if fmt.name != "bfloat16" else st.nothing()
    return st.one_of(st.floats(-8, 8, width=16), st.sampled_from([*limits, *[-e for e in limits]]), anything)


@st.composite
def calls(draw: st.DrawFn, name: str, dtype: str) -> dict[str, Any]:
    """Inputs, parameters and a cotangent for an op."""
    op, fmt = OPS[name], FORMATS[dtype]
    variant = draw(st.sampled_from([v for v in op.variants if _small(v)]))
    shapes = {n: s for n, s in variant.shapes.items() if s is not None}

    def array(shape: tuple[int, ...]) -> np.ndarray:
        return draw(hnp.arrays(np.float64, shape, elements=numbers(fmt))).astype(fmt.dtype)

    inputs: list[Any] = []
    for n, declared in op.inputs.items():
        kind = variant.kinds.get(n, declared.kind)
        if n not in shapes:
            inputs.append(None)
        elif kind in ("classes", "ignored"):
            classes = shapes["input"][declared.classes(shapes["input"])]
            inputs.append(draw(hnp.arrays(np.int64, shapes[n], elements=st.integers(0, classes - 1))))
        elif kind == "mask":
            inputs.append(draw(hnp.arrays(fmt.dtype, shapes[n], elements=st.sampled_from([0.0, 1.0]))))
        elif kind == "unit":
            inputs.append(draw(hnp.arrays(np.float64, shapes[n], elements=st.floats(0, 1, width=16))).astype(fmt.dtype))
        else:
            inputs.append(array(shapes[n]))
    # Arrays among the parameters may be left out.
    params = {k: v for k, v in variant.params.items() if not isinstance(v, Drawn)}
    with np.errstate(all="ignore"):
        return {"inputs": tuple(inputs), "params": params, "cotangent": array(np.shape(op(*inputs, **params)))}


def _small(variant: Any) -> bool:
    return all(s is None or 0 < int(np.prod(s)) <= 80 for s in variant.shapes.values())


@pytest.mark.parametrize(("name", "dtype"), in_every(["float16", "bfloat16", "float32", "float64"], OPS))
def test_the_reference_is_never_outside(name: str, dtype: str) -> None:
    op, judged = OPS[name], 0

    @SETTINGS
    @given(calls(name, dtype))
    def run(call: dict[str, Any]) -> None:
        nonlocal judged
        report = refnn.check(name, forward=op, vjp=op.vjp, inputs=call)
        judged += report.elements
        assert not any(report.count(v) for v in NEVER), f"{report}\n{call!r}"

    run()
    assert judged > 100


@SETTINGS
@given(st.data())
def test_rounding_agrees_with_numpys_casts(data: st.DataObject) -> None:
    """Format.round against another implementation of round to nearest even: NumPy's cast from float64."""
    fmt = FORMATS[data.draw(st.sampled_from(["float16", "float32", "float64"]))]
    value = data.draw(st.floats(allow_nan=False, allow_infinity=False))
    numerator, denominator = value.as_integer_ratio()
    with np.errstate(over="ignore"):
        assert fmt.round(numerator, 1 - denominator.bit_length()) == float(fmt.dtype.type(value))
