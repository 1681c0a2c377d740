"""Running an implementation on one case: what it returns, and what it does wrong apart from its numbers."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from refnn.judging.case import Case, layout

Forward = Callable[..., Any]
Vjp = Callable[..., Any]


class Misbehaviour(Exception):
    """What an implementation did wrong apart from its numbers, as a sentence."""


class Skipped(Exception):
    """What an implementation says it does not support: neither right nor wrong."""


# --- running an implementation ---------------------------------------------------------------------------------------


def call(forward: Forward | None, vjp: Vjp | None, case: Case) -> tuple[list[np.ndarray | None], list[tuple[str, str]]]:
    """[output, *gradients] and what the implementation did wrong. A result is None if there is none, or if the call
    went wrong."""
    results: list[np.ndarray | None] = [None] * (1 + len(case.inputs))
    complaints = []
    for function, part in ((forward, slice(0, 1)), (vjp, slice(1, None))):
        if function is None:
            continue
        try:
            results[part] = _guarded(function, case, part.start == 0)
        except Misbehaviour as e:
            complaints.append(("output" if part.start == 0 else "gradient", str(e)))
    return results, complaints


def _guarded(function: Forward | Vjp, case: Case, is_forward: bool) -> list[np.ndarray | None]:
    """The results of one function, checked for shape, dtype and side effects, and in some cases for reproducibility."""
    first = _attempt(function, case, is_forward)
    if case.repeat:
        for a, b in zip(first, _attempt(function, case, is_forward), strict=True):
            if a is not None and not _same_bits(a, b):
                raise Misbehaviour("gave different bits in two runs on the same input")
    return [*first]


def _attempt(function: Forward | Vjp, case: Case, is_forward: bool) -> list[np.ndarray | None]:
    arrays = [None if x is None else layout(x, case.layout) for x in case.inputs]
    params = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in case.params.items()}
    # A constant cotangent keeps its stride of 0.
    g = case.cotangent if 0 in case.cotangent.strides else layout(case.cotangent, case.cotangent_layout)
    given = [*arrays] if is_forward else [g, *arrays]
    try:
        with np.errstate(all="ignore"):
            returned = function(*given, **params)
    except (Misbehaviour, Skipped):
        raise
    except Exception as e:
        raise Misbehaviour(f"raised {type(e).__name__}: {e}\n{_own_frames(e)}") from e
    for name, x, original in zip(case.op.inputs, arrays, case.inputs, strict=True):
        if x is not None and not _same_bits(x, original):
            raise Misbehaviour(f"modified its input {name} in place")
    if g is not case.cotangent and not _same_bits(g, case.cotangent):
        raise Misbehaviour("modified the cotangent in place")
    if is_forward:
        return [_accept(returned, "the output", case.cotangent.shape, case.cotangent.dtype)]
    return _gradients(returned, case)


def _same_bits(a: np.ndarray, b: np.ndarray | None) -> bool:
    """Whether two arrays of one shape and dtype hold the same bits, NaN and the sign of zero included."""
    whole = {2: np.int16, 4: np.int32, 8: np.int64}[a.dtype.itemsize]
    return b is not None and bool(np.array_equal(a.view(whole), b.view(whole)))


def _own_frames(error: Exception) -> str:
    """The frames of the traceback that belong to the tested code."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    return "".join(traceback.format_list(frames)).rstrip()


def _accept(value: object, what: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    if not isinstance(value, (np.ndarray, np.generic)):
        raise Misbehaviour(f"{what} is a {type(value).__name__}, expected a NumPy array of {dtype} and shape {shape}")
    if value.dtype != dtype:
        raise Misbehaviour(f"{what} has dtype {value.dtype}, expected {dtype}")
    if value.shape != shape:
        raise Misbehaviour(f"{what} has shape {value.shape}, expected {shape}")
    return np.array(value)


def differentiable(case: Case) -> list[bool]:
    """Which inputs have a gradient: floats, unless the op says otherwise."""
    return [
        x is not None and x.dtype.kind not in "iu" and declared.differentiable
        for x, declared in zip(case.inputs, case.op.inputs.values(), strict=True)
    ]


def _gradients(returned: object, case: Case) -> list[np.ndarray | None]:
    if isinstance(returned, (np.ndarray, np.generic)) and len(case.inputs) == 1:
        returned = (returned,)
    if not isinstance(returned, (tuple, list)):
        raise Misbehaviour(
            f"the vjp returned a {type(returned).__name__}, expected a tuple of {len(case.inputs)} gradients"
        )
    wanted = differentiable(case)
    present = len(case.inputs) - sum(x is None for x in case.inputs)
    if not present <= len(returned) <= len(case.inputs):
        raise Misbehaviour(
            f"the vjp returned {len(returned)} gradients, expected {len(case.inputs)}, one for each input"
        )
    padded = [*returned, *[None] * (len(case.inputs) - len(returned))]
    return [
        _accept(value, f"grad[{name}]", x.shape, x.dtype) if want and x is not None else None
        for value, name, x, want in zip(padded, case.op.inputs, case.inputs, wanted, strict=True)
    ]
