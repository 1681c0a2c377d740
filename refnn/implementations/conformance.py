"""A test of an adapter: what its author runs before anybody checks a function with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from refnn.formats import FORMATS
from refnn.implementations.framework import Framework
from refnn.judging.call import Misbehaviour, Skipped, guarded
from refnn.judging.case import same_bits
from refnn.judging.cases import cases
from refnn.judging.groups import ordinary
from refnn.models import model
from refnn.ops import OPS

FEW = 3  # cases of each op


def conformance(framework: Framework) -> list[str]:
    """What is wrong with the record of a framework, a sentence each. The list is empty if nothing is.

    Arrays of each dtype come back with the same bits, whatever their strides. Each op is in the catalogue. Its function
    takes the op's arrays and parameters, or says which cases it does not support, and of the usual ones it supports
    some. The vjp is that of a product, known to the bit. A model exists for each dtype, and stores it.
    """
    basic = [*_arrays(framework), *_models(framework)]
    return basic or [*_names(framework), *_functions(framework), *_gradients(framework)]


def _names(framework: Framework) -> Iterator[str]:
    parameters = {p for name in framework.ops if name in OPS for p in OPS[name].defaults}
    yield from (f"ops has {name!r}, which is no op of refnn" for name in framework.ops if name not in OPS)
    for what, named in (("spelling", framework.spelling), ("absent", framework.absent)):
        yield from (
            f"{what} has {name!r}, which is a parameter of none of its ops" for name in named if name not in parameters
        )


def _functions(framework: Framework) -> Iterator[str]:
    for name in framework.ops:
        if name in OPS:
            yield from _spelled(framework, name)


def _arrays(framework: Framework) -> Iterator[str]:
    for name in framework.dtypes:
        if name not in FORMATS:
            yield f"dtypes has {name!r}, which is no format of refnn"
            continue
        dtype = FORMATS[name].dtype
        numbers = np.array([[0.0, -0.0, 1.5], [np.inf, np.nan, -2.0]]).astype(dtype)
        for what, x in (
            ("two axes", numbers),
            ("no axis", numbers[1, 2]),
            ("no element", numbers[:0]),
            ("the order of Fortran", np.asfortranarray(numbers)),
            ("negative strides", numbers[:, ::-1]),
            ("one number repeated", np.broadcast_to(numbers[0, 2], (2, 3))),
        ):
            given = np.asarray(x)
            back = framework.numpy(framework.array(given))
            if not isinstance(back, np.ndarray) or back.dtype != dtype or back.shape != given.shape:
                yield f"a {name} array of shape {given.shape} ({what}) comes back as {_described(back)}"
            elif not same_bits(back, given):
                yield f"a {name} array with {what} comes back as {back.tolist()}, not {given.tolist()}"


def _described(x: Any) -> str:
    return f"{x.dtype.name} of shape {x.shape}" if isinstance(x, np.ndarray) else f"a {type(x).__name__}"


def _models(framework: Framework) -> Iterator[str]:
    for name in framework.dtypes:
        if name not in FORMATS:
            continue
        try:
            stored = model(framework.model(name)).storage.name
        except ValueError as e:
            yield f"the model of {name}: {e}"
            continue
        if stored != name:
            yield f"the model of {name} is {framework.model(name)!r}, which stores {stored}"


def _spelled(framework: Framework, name: str) -> Iterator[str]:
    """What is wrong with the function of an op: it runs the usual cases, or says what it lacks."""
    op, f = OPS[name], framework.ops[name]
    dtype = "float32" if "float32" in framework.dtypes else framework.dtypes[0]
    usual = sorted((c for c in cases(op, dtype) if c.layout == "C" and ordinary(c)), key=lambda c: c.elements)
    forward, _ = framework.functions(op, f)
    ran = 0
    for case in (c for c in usual if framework.lacks(f, c) is None):
        try:
            y = guarded(forward, [*case.inputs], case.params)
        except Skipped:
            continue
        except Misbehaviour as e:
            yield f"{name} of {case.id} {str(e).splitlines()[0]}"
        else:
            if not isinstance(y, np.ndarray) or (y.shape, y.dtype) != (case.cotangent.shape, dtype):
                yield f"{name} of {case.id} is {_described(y)}, expected {dtype} of shape {case.cotangent.shape}"
        ran += 1
        if ran == FEW:
            return
    if not ran:
        yield f"{name} supports none of the {len(usual)} usual cases of the op: leave it out of ops"


def _gradients(framework: Framework) -> Iterator[str]:
    """A vjp is sum(g * f(*arrays)) differentiated by the arrays at the places alone, in their order. It is asked of
    multiplication, where it is known to the bit."""
    if framework.vjp is None:
        return
    for name in framework.dtypes:
        a, b, g = (np.array(x, FORMATS[name].dtype) for x in ([1.0, -2.0], [0.5, 4.0], [2.0, -1.0]))
        for places, expected in (((0, 1), [g * b, g * a]), ((1,), [g * a])):
            arrays = [framework.array(a), framework.array(b)]
            found = _pulled(framework, arrays, places, framework.array(g))
            if isinstance(found, str) or len(found) != len(expected):
                said = found if isinstance(found, str) else f"returns {len(found)} gradients"
                yield f"the vjp of a * b in {name} by the arrays at {places} {said}"
            elif not all(same_bits(got, want) for got, want in zip(found, expected, strict=True)):
                values, wanted = [d.tolist() for d in found], [d.tolist() for d in expected]
                yield f"the vjp of a * b in {name} by the arrays at {places} is {values}, expected {wanted}"


def _pulled(framework: Framework, arrays: Sequence[Any], places: tuple[int, ...], g: Any) -> list[np.ndarray] | str:
    assert framework.vjp is not None
    try:
        return [framework.numpy(d) for d in framework.vjp(_product, arrays, places, g)]
    except Exception as e:
        return f"raised {type(e).__name__}: {e}"


def _product(a: Any, b: Any) -> Any:
    return a * b
