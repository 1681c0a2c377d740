"""The support matrix is what it says, and the exact arithmetics agree to the last digit where they both run."""

from __future__ import annotations

import inspect
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import arb

import refnn
from refnn.arithmetic import Unsupported, elementary
from refnn.arithmetic.balls import Balls
from refnn.arithmetic.exact import Arb, Fractions
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.functions import FUNCTIONS
from refnn.arithmetic.noise import Noise
from refnn.arithmetic.pairs import Pairs
from refnn.arithmetic.protocol import PRIMITIVES, Arithmetic
from refnn.arithmetic.rounded import Rounded
from refnn.arithmetic.shapes import Shapes
from refnn.arithmetic.symbols import Symbols
from refnn.formats import dyadic_ends
from refnn.judging.cases import cases
from refnn.models import ULPS
from refnn.op import lift
from refnn.study import support
from refnn.witnesses.differences import ComplexBalls
from refnn.witnesses.reach import Reach

pytestmark = pytest.mark.xdist_group("support")  # one process makes the matrix, once

COMMITTED = Path(__file__).parents[1] / "conformance" / "support.md"

CLASSES: list[Any] = [Arb, Balls, ComplexBalls, Floats, Fractions, Noise, Pairs, Reach, Rounded, Shapes, Symbols]


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, tuple[str, str]]]:
    return support.matrix()


def test_the_committed_matrix_is_the_generated_one(rows: Any) -> None:
    hint = "run: python -m refnn.study.support conformance/support.md"
    assert COMMITTED.read_text(encoding="utf-8") == support.page(rows), hint


def test_the_matrix_covers_every_definition(rows: Any) -> None:
    assert set(rows) == set(refnn.ops) | {f"{n}: {c}" for n, op in refnn.ops.items() for c in op.algorithms}
    assert all(set(answers) == set(support.ARITHMETICS) for answers in rows.values())


def test_only_fractions_and_pairs_refuse(rows: Any) -> None:
    """And pairs nothing but the functions that have no table of theirs, of which Arb gives the truth."""
    lacking = {f"no {name!r}" for name in FUNCTIONS if name not in elementary.FUNCTIONS}
    assert "no 'sin'" in lacking and "no 'exp'" not in lacking
    for label, answers in rows.items():
        assert set(answers["Pairs"]) <= {"yes", *lacking}, label
        for arithmetic, both in answers.items():
            assert arithmetic in ("Fractions", "Pairs") or both == ("yes", "yes"), (
                f"{arithmetic} refuses {label}: {both}"
            )


def test_softmax_is_rational_backwards_only(rows: Any) -> None:
    assert rows["softmax"]["Fractions"] == ("no 'exp'", "yes")
    assert rows["linear"]["Fractions"] == ("yes", "yes")


def test_an_arithmetic_has_the_name_of_its_class() -> None:
    """Which sentences about it say."""
    assert [c.name for c in CLASSES] == [c.__name__ for c in CLASSES]


@pytest.mark.parametrize("ar", [Fractions(), Arb(64), Rounded("float16-each-op")], ids=lambda ar: ar.name)
def test_numbers_of_objects_stay_what_they_are(ar: Any) -> None:
    """Of arrays without axes, too, and where nothing arrives: NumPy would make float64 of some."""
    kind = type(ar.number(1.5))
    x = ar.array(np.array([[1.5, 2.5]]))
    for y in (ar.abs(ar.array(np.array(1.5))), ar.route(x[:, 0], x, 1), ar.where(np.array([[True, False]]), x, 0)):
        assert y.dtype == object and {type(v) for v in y.ravel().tolist()} == {kind}


@pytest.mark.parametrize("arithmetic", CLASSES, ids=lambda c: c.name)
def test_an_arithmetic_has_every_primitive_or_refuses_it(arithmetic: Any) -> None:
    """And none is made of a class without one: Python says which, before anything runs."""
    assert Arithmetic in arithmetic.__mro__ and not arithmetic.__abstractmethods__
    # a contraction, a choice of elements, a difference, what it confines, a function, unless it knows better
    for primitive in set(PRIMITIVES) - {"dot", "concatenate", "below", "confined", *FUNCTIONS}:
        without = type("Without", (arithmetic,), {primitive: vars(Arithmetic)[primitive]})
        with pytest.raises(TypeError, match=rf"Without (with|without) .*abstract method '?{primitive}\b"):
            without("float32") if arithmetic in (Balls, Noise, Rounded) else without()


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("lengths", [(2, 3), (1, 0, 2), (0,), (2, 1, 1)])
@pytest.mark.parametrize(
    "ar",
    [Floats(np.float32), Balls("float32"), Noise("float32"), Pairs(), Arb(64), Fractions()],
    ids=lambda ar: ar.name,
)
def test_arrays_one_after_the_other(ar: Any, lengths: tuple[int, ...], axis: int) -> None:
    """Nothing is rounded, and nothing of one part reaches another."""
    numbers = iter(range(1, 100))
    parts = [
        np.array([next(numbers) for _ in range(2 * n)], np.float32).reshape((n, 2) if axis == 0 else (2, n))
        for n in lengths
    ]
    parts[-1][..., -1:] = np.inf if ar.name != "Fractions" else 100
    joined = ar.concatenate([ar.array(p) for p in parts], axis)
    expected = np.concatenate(parts, axis)
    assert joined.shape == expected.shape
    found = getattr(joined, "mid", getattr(joined, "hi", joined))
    assert np.array_equal(np.asarray(found).astype(float), expected)
    if (rad := getattr(joined, "rad", None)) is not None:
        assert (np.broadcast_to(rad, expected.shape)[np.isfinite(expected)] == 0).all()


def test_every_primitive_says_what_it_is() -> None:
    assert all(vars(Arithmetic)[p].__doc__ for p in PRIMITIVES) and len(PRIMITIVES) > 25


@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_a_primitive_is_called_alike_in_every_arithmetic(primitive: str) -> None:
    """The names of its arguments, and their defaults."""

    def asked(arithmetic: Any) -> list[tuple[str, Any]]:
        found = inspect.signature(getattr(arithmetic, primitive)).parameters.values()
        return [("*" * (p.kind is p.VAR_POSITIONAL) + p.name, p.default) for p in found]

    for arithmetic in CLASSES:
        assert asked(arithmetic) == asked(Arithmetic), arithmetic.name


def test_a_bug_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only Unsupported counts as a refusal; anything else reaches the caller."""

    class Broken(Fractions):
        def relu(self, x: Any) -> Any:
            raise ValueError("broken")

    monkeypatch.setattr(support, "ARITHMETICS", {"Broken": Broken})
    with pytest.raises(ValueError, match="broken"):
        support.matrix()
    with pytest.raises(Unsupported, match="Fractions has no 'exp'"):
        refnn.tanh.vjp_definition(Fractions(), np.array([Fraction(1)]), None, np.array([Fraction(1)]))


def halves(rows: Any) -> list[tuple[str, int]]:
    """The definitions that Fractions can run, as (label, 0 for the forward or 1 for the vjp)."""
    return [(label, i) for label, answers in rows.items() for i in (0, 1) if answers["Fractions"][i] == "yes"]


def test_fractions_agree_with_arb_and_floats(rows: Any) -> None:
    """The ball of Arb contains the rational and is narrow, and the float is as near as the worst case of float64 says:
    equal where nothing rounds. Where there is no rational, the mean of no sample, the float is no number either."""
    seen: dict[tuple[str, int], int] = {}
    for label, half in halves(rows):
        name, _, algorithm = label.partition(": ")
        op = refnn.ops[name]
        for case in cases(op, "float64", families=["grid"]):
            if case.elements > 1000:
                continue
            rng = np.random.default_rng(case.elements)
            g, y = (np.asarray(rng.integers(-8, 9, case.cotangent.shape) / 8) for _ in range(2))
            definition = op.algorithm(algorithm or "accurate")[half]

            def of(
                ar: Any, case: Any = case, definition: Any = definition, half: int = half, given: Any = (g, y)
            ) -> Any:
                extra = [ar.array(v) for v in given] if half else []
                returned = definition(ar, *extra, *lift(ar, case.inputs), **case.params)
                return returned if half else (returned,)

            balls = Arb(128, convention=op.convention)
            with balls.working(), np.errstate(all="ignore"):
                certain = of(balls)
                floats, worst = (
                    of(a) for a in (Floats(convention=op.convention), Balls("float64", convention=op.convention))
                )
            try:
                exact = of(Fractions(convention=op.convention))
            except ZeroDivisionError:
                assert not np.isfinite(floats[0]).all(), case.id
                continue
            for q, ball, x, bound in zip(exact, certain, floats, worst, strict=True):
                if q is None:
                    assert ball is x is bound is None
                    continue
                q, ball = np.asarray(q, dtype=object), np.asarray(ball, dtype=object)
                assert q.shape == ball.shape == np.shape(x)
                radii = np.broadcast_to(bound.rad, q.shape).ravel()
                for a, b, c, r in zip(q.ravel(), ball.ravel(), np.ravel(x), radii, strict=True):
                    low, high = (Fraction(mantissa) * Fraction(2) ** exponent for mantissa, exponent in dyadic_ends(b))
                    assert low <= a <= high, case.id
                    assert high - low <= max(abs(a), Fraction(1)) / 2**90, case.id
                    assert abs(Fraction(float(c)) - a) <= Fraction(float(r)), case.id
                    seen[label, half] = seen.get((label, half), 0) + 1
    assert sorted(seen) == sorted(halves(rows))
    assert min(seen.values()) > 0
    print({f"{label} {'vjp' if half else 'forward'}": n for (label, half), n in seen.items()})


@pytest.mark.parametrize("function", ULPS["generic"])
def test_every_arithmetic_answers_the_elementary_functions(function: str) -> None:
    """The same values, within the ulps that NumPy's float64 functions may be off; only rationals refuse."""
    f = FUNCTIONS[function]
    x = np.array([0.125, 0.75, 2.5]) / (4 if f.end == 1 else 1) + max(f.start, 0.0)
    arithmetics = (Floats(), Balls("float64"), Noise("float64"), Arb(128), Symbols(), ComplexBalls(128))
    with arithmetics[3].working():
        floats, balls, noise, certain, symbols, complex_ = (getattr(ar, function)(ar.array(x)) for ar in arithmetics)
        spacing = np.spacing(np.abs(floats)) * ULPS["numpy-float64"][function]
        for value in (floats, balls.mid, noise.mid, symbols.astype(float), [v.real for v in complex_]):
            for v, truth, allowed in zip(value, certain, spacing, strict=True):
                assert abs(arb(v) - truth).upper() <= arb(float(allowed))
    with pytest.raises(Unsupported, match=f"Fractions has no '{function}'"):
        getattr(Fractions(), function)(Fractions().array(x))
