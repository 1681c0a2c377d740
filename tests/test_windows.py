"""Windows and the contractions over them: against loops, in exact integers, and each the adjoint of the others."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from refnn.arithmetic.windows import Contraction, Windows, matrix_product

W = Windows
# size, kernel, stride, dilation, cells before, windows: overlapping, with gaps, beyond every border, one window alone,
# windows that lie in the padding, cells that no window covers, an even kernel, a kernel longer than the input.
GEOMETRIES = {
    "plain": W((7,), (3,), (1,), (1,), (0,), (5,)),
    "gaps": W((9,), (2,), (4,), (1,), (0,), (2,)),
    "beyond": W((5,), (3,), (2,), (2,), (4,), (5,)),
    "outside": W((2,), (2,), (3,), (1,), (3,), (3,)),
    "long": W((2,), (5,), (1,), (1,), (3,), (4,)),
    "uneven": W((5, 4), (3, 2), (2, 1), (1, 2), (1, 0), (3, 2)),
    "even": W((4, 6), (2, 4), (1, 1), (1, 1), (0, 1), (4, 6)),
    "cut": W((4, 3), (2, 2), (2, 2), (1, 1), (0, 0), (2, 2)),
    "solid": W((3, 2, 4), (2, 1, 3), (1, 2, 2), (2, 1, 1), (1, 0, 1), (3, 1, 2)),
}
EVERY = pytest.mark.parametrize("w", GEOMETRIES.values(), ids=list(GEOMETRIES))


def cell(w: Windows, tap: tuple[int, ...], place: tuple[int, ...]) -> tuple[int, ...] | None:
    """The cell under a tap of a window; None in the padding."""
    found = []
    for t, o, n, s, d, before in zip(tap, place, w.size, w.stride, w.dilation, w.before, strict=True):
        found.append(o * s - before + t * d)
        if not 0 <= found[-1] < n:
            return None
    return tuple(found)


def covered(w: Windows) -> list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """(tap, window, cell) for every tap of every window that is no padding."""
    pairs = itertools.product(np.ndindex(*w.kernel), np.ndindex(*w.count))
    return [(t, p, q) for t, p in pairs if (q := cell(w, t, p)) is not None]


def whole(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-9, 10, shape)


@EVERY
def test_gather_is_a_loop(w: Windows) -> None:
    x = whole(np.random.default_rng(0), 2, 3, *w.size)
    expected = np.zeros((2, 3, *w.kernel, *w.count), int)
    for t, p, q in covered(w):
        expected[:, :, *t, *p] = x[:, :, *q]
    assert np.array_equal(w.view(x), expected)
    assert w.taps == np.prod(w.kernel)
    by_tap = np.moveaxis(expected, range(2, 2 + w.rank), range(w.rank)).reshape(w.taps, 2, 3, *w.count)
    assert np.array_equal(w.gather(x), by_tap)
    objects = w.gather(x.astype(object))
    assert objects.dtype == object and np.array_equal(objects, by_tap)


@EVERY
def test_fold_is_the_transpose_of_gather(w: Windows) -> None:
    rng = np.random.default_rng(1)
    x, v = whole(rng, 2, *w.size), whole(rng, w.taps, 2, *w.count)
    assert np.sum(w.gather(x) * v) == np.sum(x * w.fold(v))
    moved = np.roll(v, 1, 0)  # every part belongs to its own tap
    assert w.taps == 1 or np.sum(w.gather(x) * v) != np.sum(x * w.fold(moved))
    objects = w.fold(v.astype(object))
    assert np.array_equal(objects, w.fold(v))


@EVERY
def test_inside_and_coverage_count(w: Windows) -> None:
    inside, counts = np.zeros((*w.kernel, *w.count), bool), np.zeros(w.size, int)
    for t, p, q in covered(w):
        inside[*t, *p] = True
        counts[q] += 1
    assert np.array_equal(w.inside, inside.reshape(w.taps, *w.count))
    assert w.coverage == counts.max()
    assert np.array_equal(w.fold(np.ones((w.taps, *w.count), int)), counts)


def test_views_are_read_only_and_leave_strided_inputs_alone() -> None:
    w = GEOMETRIES["uneven"]
    base = whole(np.random.default_rng(2), 2, *(2 * n for n in w.size))
    x = base[..., ::2, ::2]
    assert np.array_equal(w.view(x), w.view(np.ascontiguousarray(x)))
    assert not w.view(x).flags.writeable
    kept = x.copy()
    w.gather(x)
    assert np.array_equal(x, kept)


# --- contractions ----------------------------------------------------------------------------------------------------

BATCH, GROUPS, OUT, IN = 2, 2, 3, 2  # channels a group


def shared(w: Windows) -> tuple[Contraction, Contraction, Contraction, tuple[int, ...]]:
    shape = (GROUPS * OUT, IN, *w.kernel)
    return w.correlate(shape, GROUPS), w.spread(shape, GROUPS), w.weigh(shape, GROUPS, BATCH), shape


def unshared(w: Windows) -> tuple[Contraction, Contraction, Contraction, tuple[int, ...]]:
    shape = (OUT, GROUPS * IN, *w.count, *w.kernel)
    return w.correlate_unshared(shape), w.spread_unshared(shape), w.weigh_unshared(shape, BATCH), shape


def loops(w: Windows, x: np.ndarray, kernels: np.ndarray, own: bool) -> np.ndarray:
    """The convolution, one product at a time."""
    out, channels = kernels.shape[:2]
    y = np.zeros((len(x), out, *w.count), dtype=x.dtype)
    for o, c, (t, p, q) in itertools.product(range(out), range(channels), covered(w)):
        source = c if own else o // OUT * IN + c
        y[:, o, *p] += kernels[(o, c, *p, *t) if own else (o, c, *t)] * x[:, source, *q]
    return y


Forms = Callable[[Windows], tuple[Contraction, Contraction, Contraction, tuple[int, ...]]]
BOTH = pytest.mark.parametrize("forms", [shared, unshared])


def apply(form: Contraction, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(form.apply(np.matmul, a, b))


@EVERY
@BOTH
def test_contractions_are_loops_and_adjoint(w: Windows, forms: Forms) -> None:
    rng = np.random.default_rng(3)
    correlate, spread, weigh, shape = forms(w)
    x, kernels = whole(rng, BATCH, GROUPS * IN, *w.size), whole(rng, *shape)
    y = apply(correlate, x, kernels)
    assert np.array_equal(y, loops(w, x, kernels, forms is unshared))
    g = whole(rng, *y.shape)
    value = np.sum(y * g)
    assert value != 0
    assert np.sum(x * apply(spread, g, kernels)) == value == np.sum(kernels * apply(weigh, x, g))
    # In floats and in objects the same.
    for dtype in (np.float64, object):
        for form, a, b in ((correlate, x, kernels), (spread, g, kernels), (weigh, x, g)):
            assert np.array_equal(apply(form, a.astype(dtype), b.astype(dtype)), apply(form, a, b))


@EVERY
@BOTH
def test_terms_summed_and_the_axes_that_survive(w: Windows, forms: Forms) -> None:
    rng = np.random.default_rng(4)
    correlate, spread, weigh, shape = forms(w)
    axis = tuple(range(1, 1 + w.rank))
    x, kernels = np.ones((BATCH, GROUPS * IN, *w.size), int), np.ones(shape, int)
    g = np.ones_like(apply(correlate, x, kernels))
    for form, a, b in ((correlate, x, kernels), (spread, g, kernels), (weigh, x, g)):
        most = apply(form, a, b).max()  # of ones: the number of products
        assert most <= form.terms
        if (
            form is spread
            or (forms is unshared and form is weigh)
            or (w.inside.all(0) if form is correlate else w.inside.all(axis)).any()
        ):
            assert most == form.terms
        # Elements of one index along a surviving axis go to one index of the result.
        for place, factor, other in ((form.left, a, b), (form.right, b, a)):
            if place is None:
                continue
            for i in range(factor.shape[place[0]]):
                alone = np.zeros_like(factor)
                alone[(slice(None),) * place[0] + (i,)] = 1
                pair = (alone, other) if factor is a else (other, alone)
                found = np.moveaxis(apply(form, *pair), place[1], 0)
                assert found[i].any() and not np.delete(found, i, 0).any()
        # The parts of a sum add up to it, and the products are counted.
        a, b = whole(rng, *a.shape), whole(rng, *b.shape)
        parts = list(form.parts(a, b, 4))
        assert np.array_equal(sum(apply(form, *p[1:]) for p in parts), apply(form, a, b))
        assert sum(p[0] for p in parts) == form.terms
        assert len(parts) == min(4, int(np.prod([b.shape[i] for i in form.summed])) // form.groups)
        for number, *factors in parts:
            assert apply(form, *((f != 0).astype(int) for f in factors)).max() <= number


def test_limits_are_those_of_every_product_without_padding() -> None:
    rng = np.random.default_rng(5)
    seen: set[str] = set()
    for w in GEOMETRIES.values():
        for forms in (shared, unshared):
            correlate, spread, weigh, shape = forms(w)
            x, kernels, g = (
                np.where(rng.random(s) < 0.04, rng.choice([np.inf, -np.inf, np.nan], s), rng.integers(-1, 2, s))
                for s in ((BATCH, GROUPS * IN, *w.size), shape, (BATCH, shape[0], *w.count))
            )
            with np.errstate(invalid="ignore"):
                expected = loops(w, x, kernels, forms is unshared)
            ends = correlate.limits(x, kernels)
            odd = ~np.isfinite(expected)
            assert np.array_equal(ends[odd], expected[odd], equal_nan=True)
            assert not ends[~odd].any()
            seen |= set(map(str, ends.ravel()))
            # Alone, an infinity arrives wherever a one would.
            for form, a, b in ((spread, g, kernels), (weigh, x, g)):
                there = apply(form, np.ones_like(a), np.isnan(b).astype(float)) > 0
                assert np.array_equal(np.isnan(form.limits(np.ones_like(a), np.where(np.isnan(b), b, 1.0))), there)
    assert seen == {"0.0", "inf", "-inf", "nan"}


def test_a_matrix_product_is_one() -> None:
    rng = np.random.default_rng(6)
    a, b = whole(rng, 3, 7), whole(rng, 7, 4)
    form = matrix_product((5, 7), (7, 3))
    assert np.array_equal(apply(form, a, b), a @ b)
    assert [n for n, *_ in form.parts(a, b, 4)] == [1, 2, 2, 2]
    assert np.array_equal(sum(apply(form, *p[1:]) for p in form.parts(a, b, 4)), a @ b)


def test_empty_batches_have_empty_results_and_zero_sums() -> None:
    w = GEOMETRIES["uneven"]
    for forms in (shared, unshared):
        correlate, spread, _, shape = forms(w)
        weigh = w.weigh(shape, GROUPS, 0) if forms is shared else w.weigh_unshared(shape, 0)
        x, g = np.zeros((0, GROUPS * IN, *w.size)), np.zeros((0, shape[0], *w.count))
        assert apply(correlate, x, np.ones(shape)).shape == g.shape
        assert apply(spread, g, np.ones(shape)).shape == x.shape
        assert np.array_equal(apply(weigh, x, g), np.zeros(shape))


def test_every_field_of_the_geometry_matters() -> None:
    """So that the tests above can fail: a window elsewhere gives other numbers."""
    w = GEOMETRIES["uneven"]
    x = np.arange(20).reshape(1, 1, *w.size)
    others: list[dict[str, Any]] = [{"stride": (1, 1)}, {"dilation": (2, 1)}, {"before": (0, 1)}]
    for other in others:
        fields = {f: getattr(w, f) for f in ("size", "kernel", "stride", "dilation", "before", "count")}
        assert not np.array_equal(W(**{**fields, **other}).gather(x), w.gather(x))
