"""Laws of verdicts: a definition conforms to itself, and each class as its own, whatever overflows on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from marks import FEW, together

import refnn
from refnn.arithmetic.floats import Floats
from refnn.judging.cases import cases
from refnn.judging.families import NAMES
from refnn.op import Input, Op, Variant, lift
from refnn.ops import OPS
from refnn.report import CONFORMING, Report
from refnn.variants import alone

DTYPES = ("float32", "float64")
CLASSES = [(name, label) for name, op in OPS.items() for label in op.algorithms]


def evaluated(op: Op, algorithm: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A declared class of an op as it is, in floats."""
    definition, pulled = op.algorithm(algorithm)

    def run(ar: Floats, arrays: Any, params: Any) -> tuple[Any, Any]:
        lifted = lift(ar, arrays)
        return ar.store(definition(ar, *lifted, **params)), lifted

    def forward(*arrays: Any, **params: Any) -> Any:
        return run(Floats(op.dtype_of(arrays), convention=op.convention), arrays, params)[0]

    def vjp(g: Any, *arrays: Any, **params: Any) -> Any:
        ar = Floats(op.dtype_of(arrays), convention=op.convention)
        y, lifted = run(ar, arrays, params)
        found = pulled(ar, ar.array(g), y, *lifted, **params)
        return tuple(None if v is None else ar.store(v) for v in found)

    return forward, vjp


def unsound(report: Report) -> list[str]:
    """What is neither conforming nor out of scope, as texts; so much is out of scope in some families that a report may
    not be `ok`."""
    return [str(f) for f in report.findings if f.verdict not in CONFORMING]


@pytest.mark.usefixtures("shared_judges")
@pytest.mark.parametrize(
    ("name", "algorithm", "dtype"),
    [
        together(name, name, label, dtype, marks=pytest.mark.slow if dtype == "float64" and name not in FEW else ())
        for name, label in CLASSES
        for dtype in DTYPES
    ],
)
def test_every_class_conforms_as_its_own_class(name: str, algorithm: str, dtype: str) -> None:
    forward, vjp = evaluated(OPS[name], algorithm)
    report = refnn.check(name, forward=forward, vjp=vjp, dtype=dtype, algorithm=algorithm)
    assert not unsound(report), unsound(report)[0]
    assert {r.family for r in report.results} >= {n for n in NAMES if n not in ("kinks", "special")}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("name", "algorithm"), [*CLASSES, *((name, "accurate") for name in OPS)])
def test_every_class_conforms_as_its_own_class_in_16_bits(name: str, algorithm: str, dtype: str) -> None:
    forward, vjp = evaluated(OPS[name], algorithm)
    report = refnn.check(name, forward=forward, vjp=vjp, dtype=dtype, algorithm=algorithm, model=f"{dtype}-each-op")
    assert not unsound(report), unsound(report)[0]


# --- records that nobody wrote ---------------------------------------------------------------------------------------

Term = Callable[[Any, Any], Any]  # of an arithmetic and x

ONE = (
    lambda f: lambda ar, x: ar.exp(f(ar, x)),
    lambda f: lambda ar, x: ar.tanh(f(ar, x)),
    lambda f: lambda ar, x: ar.expm1(f(ar, x)),
    lambda f: lambda ar, x: ar.erf(f(ar, x)),
    lambda f: lambda ar, x: ar.erfc(f(ar, x)),
    lambda f: lambda ar, x: ar.log(1 + f(ar, x) ** 2),
    lambda f: lambda ar, x: ar.log1p(ar.exp(f(ar, x))),
    lambda f: lambda ar, x: ar.relu(f(ar, x)),
    lambda f: lambda ar, x: ar.abs(f(ar, x)),
    lambda f: lambda ar, x: -f(ar, x),
    lambda f: lambda ar, x: f(ar, x) ** 2,
    lambda f: lambda ar, x: 1 / (1 + f(ar, x) ** 2),
    lambda f: lambda ar, x: f(ar, x) / 3,
    lambda f: lambda ar, x: 8 * f(ar, x),
    lambda f: lambda ar, x: ar.branch(f(ar, x), f(ar, x), 0, at=1),
    lambda f: lambda ar, x: ar.sum(f(ar, x), -1, keepdims=True),
    lambda f: lambda ar, x: f(ar, x) - ar.pivot(f(ar, x), -1),
    lambda f: lambda ar, x: ar.max(f(ar, x), -1).reshape(*x.shape[:-1], 1),
)
TWO = (
    lambda f, g: lambda ar, x: f(ar, x) + g(ar, x),
    lambda f, g: lambda ar, x: f(ar, x) - g(ar, x),
    lambda f, g: lambda ar, x: ar.product(f(ar, x), g(ar, x)),
    lambda f, g: lambda ar, x: f(ar, x) / (1 + g(ar, x) ** 2),
    lambda f, g: lambda ar, x: ar.product(f(ar, x), x, over=1 + ar.abs(g(ar, x))),
)


def composed() -> st.SearchStrategy[Term]:
    """Expressions in the primitives, of a few operations."""
    leaf: Term = lambda ar, x: x  # noqa: E731
    return st.recursive(
        st.just(leaf),
        lambda inner: st.one_of(
            st.builds(lambda make, f: make(f), st.sampled_from(ONE), inner),
            st.builds(lambda make, f, g: make(f, g), st.sampled_from(TWO), inner, inner),
        ),
        max_leaves=4,
    )


def record(term: Term) -> Op:
    """The record of an expression, whose forward alone is looked at."""

    def forward(ar: Any, x: Any) -> Any:
        return term(ar, x)

    def vjp(ar: Any, g: Any, y: Any, x: Any) -> Any:
        return (None,)

    shapes = [(5,), (3, 7)]
    return Op(
        "composed",
        forward,
        vjp,
        {"x": Input()},
        lambda i, p: None,
        tuple(Variant({"x": s}) for s in shapes),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(composed(), st.sampled_from(["float32", "float64", "float16", "bfloat16"]))
def test_a_record_composed_at_random_conforms_to_itself(term: Term, dtype: str) -> None:
    """Whatever overflows on the way and comes back, and in whichever order infinities meet."""
    op = record(term)
    model = dtype if dtype in DTYPES else f"{dtype}-each-op"
    forward, _ = evaluated(op, "accurate")
    given_cases = list(cases(alone(op), dtype))
    from refnn.judging.check_case import check_case

    for case in given_cases:
        results, findings, *_ = check_case(case, forward, None, refnn.models.model(model), line=6.0)
        bad = [f for f in findings if f.verdict not in CONFORMING]
        assert not bad, str(bad[0])
        assert results
