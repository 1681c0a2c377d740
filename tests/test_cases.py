"""The cases of a check: which shapes, parameters, numbers and layouts meet, and that no two of them are tied."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

import refnn
from refnn.formats import FORMATS
from refnn.judging.case import LAYOUTS, layout
from refnn.judging.cases import cases, families_of, turns
from refnn.judging.families import COTANGENTS, FAMILIES, RANDOM
from refnn.op import Op, Variant
from refnn.variants import pairwise

NAMES = sorted(refnn.ops)
FORMS = [*FORMATS]


def rolled(op: Op, dtype: str = "float32", seed: int = 0) -> Mapping[int, Mapping[str, Any]]:
    return {i: turns(op, v, dtype, seed) for i, v in enumerate(op.configurations)}


# --- nothing is tied -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_unique(name: str) -> None:
    ids = Counter(c.id for dtype in ("float32", "float64") for c in cases(name, dtype))
    assert ids
    assert not [i for i, n in ids.items() if n > 1]


@pytest.mark.parametrize("dtype", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_a_variant_meets_every_layout_and_every_cotangent(name: str, dtype: str) -> None:
    op = refnn.ops[name]
    for i, of in rolled(op, dtype).items():
        shown = op.configurations[i].shapes
        if len(of) <= 2:  # a large one
            continue
        assert {t.layout for t in of.values()} == {*LAYOUTS}, shown
        assert {t.cotangent for t in of.values()} == {*COTANGENTS}, shown
        assert {t.cotangent_layout for t in of.values()} == {*LAYOUTS} - {"broadcast"}, shown
        assert {t.repeat for t in of.values()} == {True, False}, shown
        assert not [f for f, t in of.items() if f in RANDOM and t.layout == "broadcast"]


@pytest.mark.parametrize("name", NAMES)
def test_the_choices_of_a_case_do_not_depend_on_each_other(name: str) -> None:
    """In the cases of an op, of four seeds, every two choices meet."""
    met = [_choices(t) for seed in range(4) for of in rolled(refnn.ops[name], seed=seed).values() for t in of.values()]
    every: list[Sequence[Any]] = [sorted(COTANGENTS), LAYOUTS[:-1], LAYOUTS[:-1], (True, False)]
    for a, b in itertools.combinations(range(len(every)), 2):
        assert {(m[a], m[b]) for m in met} >= {*itertools.product(every[a], every[b])}


def _choices(turn: Any) -> tuple[Any, ...]:
    return turn.cotangent, turn.layout, turn.cotangent_layout, turn.repeat


def test_another_seed_shuffles_again() -> None:
    op = refnn.softmax
    same = [rolled(op, seed=0)[0] == rolled(op, seed=seed)[0] for seed in range(1, 5)]
    assert not any(same)
    assert rolled(op, seed=3) == rolled(op, seed=3)


# --- layouts ---------------------------------------------------------------------------------------------------------

x = np.arange(120.0).reshape(2, 3, 4, 5)


@pytest.mark.parametrize("order", LAYOUTS)
def test_a_layout_keeps_the_numbers(order: str) -> None:
    for shape in ((), (1,), (7,), (0, 3), (3, 1), (2, 3, 4), (2, 3, 4, 5)):
        given = np.random.default_rng(0).normal(size=shape)
        laid = layout(given, order)
        assert laid.tobytes() == given.tobytes()
        assert not np.shares_memory(laid, given)


def test_layouts_lie_in_memory_as_they_say() -> None:
    assert layout(x, "F").flags.f_contiguous
    assert np.moveaxis(layout(x, "channels last"), 1, -1).flags.c_contiguous
    assert layout(x, "strided").strides[-1] == 2 * x.itemsize
    assert all(s < 0 for s in layout(x, "reversed").strides)
    assert layout(x, "offset").__array_interface__["data"][0] % 16 == 8
    row = np.broadcast_to(x[:1], x.shape)
    assert layout(np.array(row), "broadcast").strides[0] == 0
    assert layout(x, "broadcast").strides == x.strides  # numbers that differ cannot share a place
    one = layout(np.full((4, 3), 2.0), "broadcast")
    one[0, 0] = 1
    assert one[3, 0] == 1


# --- usual configurations --------------------------------------------------------------------------------------------

FACTORS = [n for n in NAMES if n.startswith(("conv", "max_pool", "avg_pool"))]
LOSSES = ["cross_entropy", "nll_loss", "mse_loss", "smooth_l1_loss", "binary_cross_entropy_with_logits", "logsumexp"]


@pytest.mark.parametrize("name", [*FACTORS, *LOSSES])
def test_every_two_values_meet(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every two values of two factors that the op takes together stand in one variant."""
    seen: list[tuple[Mapping[str, Sequence[Any]], Callable[..., Variant]]] = []
    for module in ("_conv", "_pool", "_shared"):
        target = f"refnn.ops.{module}.pairwise"
        monkeypatch.setattr(target, lambda op, values, make: seen.append((values, make)) or pairwise(op, values, make))
    op = refnn.ops[name]
    made = [*op.usual(op)]
    [(values, make)] = seen
    have = {_told(op, v) for v in made}
    rows = [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]
    taken = [(row, v) for row in rows if _told(op, v := make(**row)) in have]
    for a, b in itertools.combinations(values, 2):
        for i, j in itertools.product(values[a], values[b]):
            if any(row[a] == i and row[b] == j for row, _ in taken):
                continue
            other = (make(**row) for row in rows if row[a] == i and row[b] == j)
            assert not any(map(op.takes, other)), f"{a}={i} never meets {b}={j}"


def _told(op: Op, v: Variant) -> str:
    return repr(
        (sorted(v.shapes.items()), sorted({**op.defaults, **v.params}.items(), key=str), sorted(v.kinds.items()))
    )


@pytest.mark.parametrize("name", NAMES)
def test_there_are_usual_sizes(name: str) -> None:
    """Tiles and vectors without a rest, a rest of 1, and so many elements that threads share them."""
    op = refnn.ops[name]
    sizes = [{math.prod(s) for s in v.shapes.values() if s is not None} for v in op.configurations]
    assert max(map(max, sizes)) > 32_768
    assert any(n % 16 == 0 and n for s in sizes for n in s)
    lengths = {n for v in op.configurations for s in v.shapes.values() for n in s or ()}
    assert any(n % 16 == 0 and n > 128 for n in lengths) or name.startswith(("max_pool", "avg_pool", "locally"))


def test_large_variants_are_rare() -> None:
    op = refnn.relu
    large = next(v for v in op.configurations if math.prod(v.first) > 32_768)
    assert families_of(op, large, np.random.default_rng(0)) == ["normal"]


@pytest.mark.parametrize("name", NAMES)
def test_variants_that_differ_in_their_parameters_alone_share_the_families(name: str) -> None:
    """Together they meet every family, each of them "normal"; a thorough check runs each in all, and the cases that it
    has in common with the default check are the same."""
    op = refnn.ops[name]
    for shapes, group in itertools.groupby(sorted(op.variants, key=_shapes), key=_shapes):
        siblings = list(group)
        usual = [turns(op, v, "float32", 0) for v in siblings]
        every = [turns(op, v, "float32", 0, thorough=True) for v in siblings]
        assert {f for of in usual for f in of} == {f for of in every for f in of}, shapes
        for few, all_ in zip(usual, every, strict=True):
            assert "normal" in few and few.items() <= all_.items(), shapes
            assert len(few) >= len(LAYOUTS) or few == all_, shapes


def _shapes(v: Variant) -> str:
    return repr((sorted(v.shapes.items()), sorted(v.kinds.items())))


def test_siblings_have_less_than_all_families() -> None:
    op = refnn.gelu
    (few, *others) = [turns(op, v, "float32", 0) for v in op.variants if v.first == (1031,)]
    assert len(others) == 1 and len(few) < len(turns(op, op.variants[0], "float32", 0, thorough=True))


# --- families --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_fits_every_format(family: str, fmt: Any) -> None:
    drawn = [
        FAMILIES[family](np.random.default_rng(s), shape, fmt) for s in range(20) for shape in ((), (0, 2), (3, 5))
    ]
    for x in drawn:
        with np.errstate(over="raise", invalid="raise"):
            stored = np.asarray(x).astype(fmt.dtype)
        assert family == "nonfinite" or np.isfinite(stored).all()


@pytest.mark.parametrize("start", [-1e4, -1e9])
@pytest.mark.parametrize("seed", range(3))
def test_a_maximum_that_starts_too_high_is_seen(start: float, seed: int) -> None:
    def softmax(x: np.ndarray, *, axis: int = -1) -> np.ndarray:
        top = np.maximum(x.max(axis, keepdims=True, initial=start), start).astype(x.dtype)
        e = np.exp(x - top)
        return np.asarray(e / e.sum(axis, keepdims=True))

    assert not refnn.check("softmax", forward=softmax, families=["far"], seed=seed).ok


# --- thorough --------------------------------------------------------------------------------------------------------


def test_a_thorough_check_has_more_seeds_and_larger_cases() -> None:
    few = refnn.check("relu", forward=refnn.relu, families=["normal"])
    many = refnn.check("relu", forward=refnn.relu, families=["normal"], thorough=True)
    assert many.ok
    assert {c.rsplit("/", 1)[1] for c in (r.case for r in many.results)} == set(map(str, range(16)))
    assert many.elements > 16 * few.elements
    assert "thorough: 16 seeds" in str(many)
    large = max(many.results, key=lambda r: r.elements).case
    found = refnn.case(large)
    assert found.inputs[0] is not None
    assert found.inputs[0].size >= 200_000
    with pytest.raises(ValueError, match="thorough= are of cases of ops only"):
        refnn.check(refnn.Network.load("women"), forward=lambda p, x: x, thorough=True)
