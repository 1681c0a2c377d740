"""Sequences of calls: what an implementation keeps, shares between calls, or leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import refnn

Function = Callable[..., Any]


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def one_buffer(f: Function) -> Function:
    buffers: dict[Any, np.ndarray] = {}

    def g(x: np.ndarray) -> np.ndarray:
        out = buffers.setdefault((x.shape, x.dtype), np.empty(x.shape, x.dtype))
        out[...] = f(x)
        return out

    return g


def cached_by(key: Callable[[np.ndarray], Any]) -> Callable[[Function], Function]:
    def wrap(f: Function) -> Function:
        known: dict[Any, np.ndarray] = {}

        def g(x: np.ndarray) -> np.ndarray:
            if (k := (x.shape, key(x))) not in known:
                known[k] = f(x)
            return known[k].copy()

        return g

    return wrap


def input_overwritten_later(f: Function) -> Function:
    earlier: list[np.ndarray] = []

    def g(x: np.ndarray) -> np.ndarray:
        y = f(x)
        if earlier and earlier[-1] is not x and earlier[-1].size:
            earlier[-1].flat[0] = 77
        earlier.append(x)
        return y

    return g


def seterr(f: Function) -> Function:
    def g(x: np.ndarray) -> np.ndarray:
        np.seterr(over="warn")
        return f(x)

    return g


class Lying(np.ndarray):
    """It says that it has the shape it was asked for."""

    wanted: Any = ()

    @property
    def shape(self) -> Any:  # type: ignore[override]
        return self.wanted


def lying(f: Function) -> Function:
    def g(x: np.ndarray) -> np.ndarray:
        y = np.asarray(f(x)).ravel()[:1].view(Lying)
        y.wanted = x.shape
        return y

    return g


def last_bit_every_other_call(f: Function) -> Function:
    count = iter(range(10**9))

    def g(x: np.ndarray) -> np.ndarray:
        y = f(x)
        return np.where(y > 0, np.nextafter(y, np.inf, dtype=y.dtype), y) if next(count) % 2 else y

    return g


WRONG = {
    "one buffer for all results": (one_buffer, "wrote over the result of an earlier call"),
    "cached by the first elements": (cached_by(lambda x: x.ravel()[:2].tobytes()), "violation"),
    "cached by the shape": (cached_by(lambda x: None), "violation"),
    "cached by the place in memory": (cached_by(lambda x: x.__array_interface__["data"][0]), "gave different bits"),
    "an input overwritten later": (input_overwritten_later, "modified its input x of an earlier call"),
    "np.seterr": (seterr, "left np.seterr changed"),
    "a subclass that lies": (lying, "has shape (1,), expected"),
    "another last bit": (last_bit_every_other_call, "gave different bits in two runs on the same input"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_sequence_of_calls_shows(what: str) -> None:
    wrap, sentence = WRONG[what]
    report = refnn.check("relu", forward=wrap(relu), families=["normal", "grid", "few"])
    assert not report.ok
    assert sentence in str(report)


def test_a_view_of_the_input_is_a_result() -> None:
    def flatten(x: np.ndarray, *, start: int) -> np.ndarray:
        return x.reshape(*x.shape[:start], -1)

    assert refnn.check("flatten", forward=flatten, where={"shape": lambda s: s and 0 not in s}).ok


def test_right_kernels_that_keep_what_they_may_pass() -> None:
    """A cache of results by all of the input, and a scratch buffer inside."""
    assert refnn.check("relu", forward=cached_by(lambda x: x.tobytes())(relu)).ok
    assert refnn.check("relu", forward=lambda x: one_buffer(relu)(x).copy()).ok
