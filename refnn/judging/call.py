"""Running an implementation on one case: what it returns, and what it does wrong apart from its numbers."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from refnn.judging.case import Case, layout
from refnn.judging.groups import parameter, same
from refnn.op import Op

Forward = Callable[..., Any]
Vjp = Callable[..., Any]


class Misbehaviour(Exception):
    """What an implementation did wrong apart from its numbers, as a sentence."""


class Skipped(Exception):
    """Why an implementation does not support a case, which is neither right nor wrong; empty if it does not say.

    `declared` says that this was known before the call.
    """

    def __init__(self, why: str = "", *, declared: bool = False) -> None:
        super().__init__(why)
        self.declared = declared


def skip(why: str) -> NoReturn:
    """Say, from inside a tested function, that it does not support the case that it was called with."""
    raise Skipped(why)


# --- what is passed --------------------------------------------------------------------------------------------------


def passed(
    function: Callable[..., Any],
    op: Op,
    given: Sequence[Any],
    params: Mapping[str, Any],
    spelling: Mapping[str, str] | None = None,
) -> tuple[list[Any], dict[str, Any]]:
    """The positional arguments and the parameters that a function is called with.

    `given` are the arrays, of which those of absent inputs are None, and `spelling` has the function's names for the
    op's parameters where it has others. Its signature decides: a parameter that it does not name is left out if the
    value is the op's default, and so is an absent input at the end. Skipped says what it lacks of what the case needs.
    A function that takes any keyword, or whose signature cannot be read, gets everything.
    """
    try:
        signature = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return [*given], dict(params)
    arrays = [*given]
    spelled = {n: (spelling or {}).get(n, n) for n in op.defaults}
    if not any(p.kind is p.VAR_POSITIONAL for p in signature):
        places = sum(
            p.kind is p.POSITIONAL_ONLY or (p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in spelled.values())
            for p in signature
        )
        for (name, declared), x in zip([*op.inputs.items()][::-1], given[::-1], strict=False):
            if len(arrays) <= places or not declared.optional:
                break
            if x is not None:
                raise Skipped(name, declared=True)
            arrays.pop()
    if any(p.kind is p.VAR_KEYWORD for p in signature):
        return arrays, dict(params)
    taken = {p.name for p in signature if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    names = {n for n, there in spelled.items() if there in taken}
    for name, value in params.items():
        if name not in names and not same(value, op.defaults.get(name, value)):
            words = parameter(name, value, op.defaults[name]) or name.replace("_", " ")
            raise Skipped(words, declared=True)
    return arrays, {n: v for n, v in params.items() if n in names}


# --- running an implementation ---------------------------------------------------------------------------------------


def call(
    forward: Forward | None, vjp: Vjp | None, case: Case
) -> tuple[list[np.ndarray | None], list[tuple[str, str]], Skipped | None]:
    """[output, *gradients], what the implementation did wrong, and what of the case it does not support.

    A result is None if there is none, or if the call went wrong. The output of an implementation may be there where
    its gradients are not supported. Where the output is not, the vjp is not called.
    """
    results: list[np.ndarray | None] = [None] * (1 + len(case.inputs))
    complaints = []
    skipped = None
    for function, part in ((forward, slice(0, 1)), (vjp, slice(1, None))):
        if function is None:
            continue
        try:
            results[part] = _guarded(function, case, part.start == 0)
        except Misbehaviour as e:
            complaints.append(("output" if part.start == 0 else "gradient", str(e)))
        except Skipped as e:
            skipped = e
            break
    return results, complaints, skipped


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
    given, named = passed(function, case.op, arrays if is_forward else [g, *arrays], params)
    try:
        with np.errstate(all="ignore"):
            returned = function(*given, **named)
    except (Misbehaviour, Skipped):
        raise
    except NotImplementedError as e:
        raise Skipped(str(e).partition("\n")[0]) from e
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
