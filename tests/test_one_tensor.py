"""One tensor of a test that exists already: right ones pass, wrong ones do not, and the text says why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import refnn

RNG = np.random.default_rng(2)
X = RNG.normal(size=(4, 64)).astype(np.float32)
G = RNG.normal(size=(4, 64)).astype(np.float32)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize(
    "wrong", [lambda y: y * np.float32(1.001), lambda y: y * np.nan, lambda y: 0 * y, lambda y: y[1:]]
)
def test_an_output_that_is_right_passes_and_a_wrong_one_raises_the_report(wrong: Any) -> None:
    y = softmax(X)
    refnn.assert_close("softmax", y, (X,), axis=-1)
    refnn.assert_close("softmax", y, (X,), model="float32", axis=-1)
    with pytest.raises(AssertionError, match="does not conform"):
        refnn.assert_close("softmax", wrong(y), (X,), axis=-1)


def test_a_gradient_is_named_by_its_input() -> None:
    w = RNG.normal(size=(8, 64)).astype(np.float32)
    g = RNG.normal(size=(4, 8)).astype(np.float32)
    for what, right in (("grad[x]", g @ w), ("grad[weight]", g.T @ X)):
        refnn.assert_close("linear", right, (X, w), what=what, cotangent=g)
        with pytest.raises(AssertionError, match=rf"violation: {what[:4]}\[{what[5:-1]}\]"):
            refnn.assert_close("linear", 2 * right, (X, w), what=what, cotangent=g)


def test_a_tolerance_is_the_worst_case() -> None:
    allowed = refnn.tolerance("softmax", (X,), model="float32", axis=-1)
    assert allowed.shape == X.shape and (allowed > 0).all() and (allowed < 1e-4).all()
    assert (allowed == refnn.allowance("softmax", X, model="float32", axis=-1).output.worst).all()
    exact = refnn.truth("softmax", X.astype(np.float64), axis=-1).output.value
    assert (np.abs(softmax(X) - exact) <= allowed).all()
    pulled = refnn.tolerance("softmax", (X,), what="grad[x]", cotangent=G, axis=-1)
    assert pulled.shape == X.shape and (pulled > 0).all()


def test_what_ran_in_tf32_is_explained_by_it_alone() -> None:
    w = RNG.normal(size=(16, 64)).astype(np.float32)
    cut = [(a.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32) for a in (X, w)]
    found = refnn.explain("linear", cut[0] @ cut[1].T, (X, w))
    assert [f.model for f in found.fits] == ["tf32"] and "tf32, accurate" in str(found)
    whole = refnn.explain("linear", X @ w.T, (X, w))
    assert [f.model for f in whole.fits] == ["float32", "tf32"], "the narrower first"
    assert "no algorithm fits, in none of the models float32, tf32" in str(
        refnn.explain("linear", 2 * (X @ w.T), (X, w))
    )


def test_what_is_not_judged_fits_nothing() -> None:
    """A sum that overflows on the way, and a result of another dtype."""
    x = np.full((1, 4), 3e38, np.float32) * np.array([1, -1, 1, -1], np.float32)
    ones = np.ones((1, 4), np.float32)
    assert not refnn.explain("linear", np.zeros((1, 1), np.float32), (x, ones)).fits
    found = refnn.explain("linear", X @ X.T.astype(np.float64), (X, X))
    assert found.tried and not found.fits


def test_an_algorithm_is_named() -> None:
    x = np.array([6.0, -8.0, 0.5], np.float32)
    y = np.tanh(x)
    found = refnn.explain(
        "tanh", (1 - y * y).astype(np.float32), (x,), what="grad[x]", cotangent=np.ones(3, np.float32)
    )
    assert {f.algorithm for f in found.fits if f.model == "float32"} >= {"textbook"}
    assert "accurate" not in {f.algorithm for f in found.fits}


BAD = {
    "softmax: what is 'gradient', expected one of output, grad\\[x\\]": {"what": "gradient"},
    "softmax: grad\\[x\\] needs a cotangent, and none is given": {"what": "grad[x]"},
}


@pytest.mark.parametrize("sentence", BAD)
def test_bad_calls_get_one_sentence(sentence: str) -> None:
    for call in (
        lambda **o: refnn.assert_close("softmax", X, (X,), **o),
        lambda **o: refnn.tolerance("softmax", (X,), **o),
        lambda **o: refnn.explain("softmax", X, (X,), **o),
    ):
        with pytest.raises(ValueError, match=sentence):
            call(**BAD[sentence])
