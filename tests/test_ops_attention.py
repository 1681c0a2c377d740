"""Attention: kernels as others write them, what is not seen, and scores of which nobody knows which is largest."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import refnn
from refnn.arithmetic.balls import Balls
from refnn.arithmetic.noise import Noise

Array = np.ndarray
F32 = np.float32
NAME = "scaled_dot_product_attention"
TILE = 4


def _parts(query: Array, key: Array, mask: Array | None, is_causal: bool, scale: float | None) -> Any:
    c = query.dtype.type(1 / np.sqrt(query.shape[-1]) if scale is None else scale)
    s = (query @ key.swapaxes(-1, -2)) * c
    s = s if mask is None else s + mask
    return c, np.where(np.tri(*s.shape[-2:], dtype=bool), s, -np.inf).astype(s.dtype) if is_causal else s


def flash(
    query: Array, key: Array, value: Array, mask: Array | None = None, *, is_causal: bool, scale: float | None
) -> tuple[Array, Array]:
    """The output and the logarithm of the sums, tile of keys by tile of keys."""
    _, s = _parts(query, key, mask, is_causal, scale)
    kind = query.dtype.type
    top, total = np.full((*s.shape[:-1], 1), kind(-np.inf)), np.zeros((*s.shape[:-1], 1), kind)
    y = np.zeros((*s.shape[:-1], value.shape[-1]), kind)
    for start in range(0, s.shape[-1], TILE):
        part = s[..., start : start + TILE]
        new = np.maximum(top, part.max(-1, keepdims=True))
        base = np.where(np.isinf(new), kind(0), new)
        e, old = np.exp(part - base), np.exp(top - base)
        total, y = total * old + e.sum(-1, keepdims=True), y * old + e @ value[..., start : start + TILE, :]
        top = new
    seen = total > 0
    return np.where(seen, y / np.where(seen, total, 1), 0), np.where(seen, top + np.log(total), 0)


def flash_vjp(
    g: Array, query: Array, key: Array, value: Array, mask: Array | None = None, *, share: int = 1, **p: Any
) -> Any:
    """The weights made again from the logarithm, and D = sum(g * y), of which `share` is taken."""
    y, rest = flash(query, key, value, mask, **p)
    c, s = _parts(query, key, mask, **p)
    weights = np.exp(s - rest)
    ds = weights * (g @ value.swapaxes(-1, -2) - share * (g * y).sum(-1, keepdims=True))
    by_mask = None
    if mask is not None:
        by_mask, added = ds, ds.ndim - mask.ndim
        axes = tuple(a for a in range(ds.ndim) if a < added or mask.shape[a - added] == 1)
        by_mask = ds.sum(axes, dtype=ds.dtype).reshape(mask.shape)
    return c * (ds @ key), c * (ds.swapaxes(-1, -2) @ query), weights.swapaxes(-1, -2) @ g, by_mask


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_flash_attention_conforms(dtype: str) -> None:
    def forward(*arrays: Any, **p: Any) -> Array:
        with np.errstate(all="ignore"):
            return flash(*arrays, **p)[0]

    families = ["normal", "large", "grid", "few", "masked", "tiny"]
    report = refnn.check(NAME, forward=forward, vjp=flash_vjp, dtype=dtype, families=families)
    assert report.ok or {f.verdict for f in report.findings} == {"explained"}, report
    assert not any(f.what == "output" for f in report.findings), report

    def without_d(g: Array, *arrays: Any, **p: Any) -> Any:
        return flash_vjp(g, *arrays, share=0, **p)

    wrong = refnn.check(NAME, forward=forward, vjp=without_d, dtype=dtype, families=["normal"])
    assert wrong.verdict == "violation"


def test_what_is_not_seen_does_not_arrive() -> None:
    """Not even as 0 times infinity, in the output and in the gradients."""
    rng = np.random.default_rng(0)
    q, k, v, g = (rng.normal(size=(1, 3, 2)).astype(F32) for _ in range(4))
    y, grads = refnn.ops[NAME](q, k, v, is_causal=True), refnn.ops[NAME].vjp(g, q, k, v, is_causal=True)
    for odd in (np.inf, np.nan):
        for far in (k, v):
            far = far.copy()
            far[:, 2] = odd
            inputs = (q, far, v) if far.shape == k.shape and not np.array_equal(far[:, :2], v[:, :2]) else (q, k, far)
            assert np.array_equal(refnn.ops[NAME](*inputs, is_causal=True)[:, :2], y[:, :2])
            first = refnn.ops[NAME].vjp(np.where(np.arange(3)[:, None] < 2, g, 0), *inputs, is_causal=True)[0]
            assert np.array_equal(first[:, :2], grads[0][:, :2])


def test_a_query_that_sees_nothing_has_no_output_and_no_gradient() -> None:
    ones, mask = np.ones((1, 2)), np.full((1, 1), -np.inf)
    assert (refnn.ops[NAME](ones, ones, ones, mask) == 0).all()
    assert all((v == 0).all() for v in refnn.ops[NAME].vjp(ones, ones, ones, ones, mask))


def test_a_sure_maximum_is_exactly_zero_below_itself_and_a_doubtful_one_is_not() -> None:
    """And what is confined lies between its ends, however far off its operands are."""
    balls, noise = Balls("float32"), Noise("float32")
    for ar in (balls, noise):
        for x, sure in (([[4e8, 1.0]], True), ([[4e8, 4e8 - 32]], False)):
            s = ar.array(np.asarray(x, F32)) * ar.real(0.1)
            d = ar.below(s, 1)
            off = np.broadcast_to(d.rad, d.shape) if ar is balls else d.std() + d.bias
            assert (off[0, 0] == 0) == sure
            e = ar.confined(lambda d=d, ar=ar: ar.exp(d), 0, 1, s)
            wide = np.broadcast_to(e.rad, e.shape) if ar is balls else e.std()
            assert (wide <= 1).all()
            assert ((wide[0] < 1e-6).all()) == sure


@pytest.mark.parametrize(
    ("shapes", "params", "sentence"),
    [
        (((4,), (3, 4), (3, 4)), {}, "query has shape (4,), expected (..., L, E) with no empty axis"),
        (((2, 4), (0, 4), (0, 4)), {}, "key has shape (0, 4), expected (..., S, E) with no empty axis"),
        (((2, 4), (3, 5), (3, 4)), {}, "key has shape (3, 5), expected (3, 4) beside a query of (2, 4)"),
        (((2, 4), (3, 4), (2, 4)), {}, "value has shape (2, 4), expected (3, 4) beside a query of (2, 4)"),
        (
            ((2, 4), (3, 4), (3, 4), (3, 2)),
            {},
            "mask has shape (3, 2), expected one that broadcasts to the scores (2, 3)",
        ),
        (
            ((2, 4), (3, 4), (3, 4), (2, 3)),
            {"is_causal": True},
            "mask and is_causal are both given, expected one of them",
        ),
    ],
)
def test_what_does_not_go_together_is_said_in_one_sentence(shapes: Any, params: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'{NAME}: {sentence}')}$"):
        refnn.ops[NAME](*map(np.ones, shapes), **params)


def test_attention_in_a_model_is_judged_and_dropout_is_refused_in_a_sentence() -> None:
    torch = pytest.importorskip("torch")
    function = torch.nn.functional.scaled_dot_product_attention

    class Attends(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, **params: Any) -> None:
            super().__init__()
            self.params, self.map = params, torch.nn.Linear(4, 12)

        def forward(self, x: Any) -> Any:
            return function(*self.map(x).chunk(3, -1), **self.params)

    torch.manual_seed(0)
    x = torch.randn(2, 5, 4)
    seen = torch.ones(5, 5).tril().bool()
    for params in ({"is_causal": True}, {"attn_mask": torch.randn(5, 5), "scale": 0.3}, {"attn_mask": seen}):
        grade = refnn.check_model(Attends(**params), (x,))
        assert grade.ok and any(NAME in r.case for r in grade.results), grade
    with pytest.raises(TypeError, match=r"has dropout_p=0\.5, expected 0\.0"):
        refnn.Network.from_torch(Attends(dropout_p=0.5), (x,))
