"""Running an implementation on one case: what it returns, and what it does wrong apart from its numbers."""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from refnn.judging.case import Case, layout, same_bits
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
    value is the op's default, and so is an absent input at the end. An input that it has behind a parameter of the op
    is passed by name. Skipped says what it lacks of what the case needs.
    A function that takes any keyword, or whose signature cannot be read, gets everything.
    """
    signature = _parameters(function)
    if signature is None:
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
    first = next((i for i, p in enumerate(signature) if p.name in spelled.values()), len(arrays))
    behind = dict(zip([*op.inputs][first:], arrays[first:], strict=False))
    if first and behind.keys() <= taken:
        arrays = arrays[:first]
    else:
        behind = {}
    names = {n for n, there in spelled.items() if there in taken}
    for name, value in params.items():
        if name not in names and not same(value, op.defaults.get(name, value)):
            words = parameter(name, value, op.defaults[name]) or name.replace("_", " ")
            raise Skipped(words, declared=True)
    return arrays, behind | {n: v for n, v in params.items() if n in names}


def _parameters(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...] | None:
    """What the signature of a function names, or None where it cannot be read."""
    try:
        hash(function)
    except TypeError:
        return _read(function)
    return _last_read(function)


def _read(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...] | None:
    try:
        return tuple(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


_last_read = functools.lru_cache(maxsize=8)(_read)  # a check calls the same few functions hundreds of times


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
            results[part] = _results(function, case, part.start == 0)
        except Misbehaviour as e:
            complaints.append(("output" if part.start == 0 else "gradient", str(e)))
        except Skipped as e:
            skipped = e
            break
    return results, complaints, skipped


Arrays = list[np.ndarray | None]


def _results(function: Forward | Vjp, case: Case, is_forward: bool) -> Arrays:
    """The results of one function, checked for shape, dtype and side effects; in some cases in a sequence of calls."""
    own = [case.cotangent, *case.inputs] if not is_forward else [*case.inputs]
    given = _laid(case, own, is_forward)
    if not case.repeat:
        return _copied(_called(function, case, given, own, is_forward))
    return _in_sequence(function, case, given, own, is_forward)


def _in_sequence(function: Forward | Vjp, case: Case, given: Arrays, own: Arrays, is_forward: bool) -> Arrays:
    """The results of a call between two others: the one before has other numbers in the same memory, and the one after
    the same numbers elsewhere. So a result that was kept from another call shows, and so does a buffer that two calls
    share, and what a call does to the arrays of an earlier one."""
    _write(given, [None if x is None else _turned(x) for x in own])
    first = _called(function, case, given, _copied(given), is_forward)
    kept = _copied(first)
    _write(given, own)
    second = _called(function, case, given, own, is_forward)
    results = _copied(second)
    third = _copied(_called(function, case, _laid(case, own, is_forward), own, is_forward))
    for a, b in zip(results, third, strict=True):
        if a is not None and b is not None and not same_bits(a, b):
            raise Misbehaviour("gave different bits in two runs on the same input")
    for raw, then in ((first, kept), (second, results)):
        for a, b in zip(raw, then, strict=True):
            if a is None or b is None or any(x is not None and np.may_share_memory(a, x) for x in given):
                continue  # a view of an input changes with it
            if not same_bits(a, b):
                raise Misbehaviour("wrote over the result of an earlier call")
    _refuse_changes(case, given, own, is_forward, "modified {} of an earlier call")
    return results


def _laid(case: Case, own: Arrays, is_forward: bool) -> Arrays:
    """The arrays of a call as they lie in memory. A constant cotangent keeps its stride of 0."""
    laid = [None if x is None else layout(x, case.layout) for x in own]
    if not is_forward:
        laid[0] = layout(case.cotangent, "broadcast" if 0 in case.cotangent.strides else case.cotangent_layout)
    return laid


def _write(given: Arrays, numbers: Arrays) -> None:
    for x, number in zip(given, numbers, strict=True):
        if x is not None and number is not None:
            x[...] = number


def _turned(x: np.ndarray) -> np.ndarray:
    """The same numbers, the last half of them in reverse order."""
    flat, half = x.ravel(), x.size // 2
    return np.concatenate([flat[:half], flat[half:][::-1]]).reshape(x.shape)


def _called(function: Forward | Vjp, case: Case, given: Arrays, own: Arrays, is_forward: bool) -> Arrays:
    """What a function returns, as it is, of the right shapes and dtypes; `own` are the numbers that it was given."""
    params = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in case.params.items()}
    arrays, named = passed(function, case.op, given, params)
    returned = guarded(function, arrays, named)
    _refuse_changes(case, given, own, is_forward, "modified {} in place")
    if is_forward:
        return [accept(returned, "the output", case.cotangent.shape, case.cotangent.dtype)]
    return _gradients(returned, case)


def guarded(function: Callable[..., Any], arrays: Sequence[Any], named: Mapping[str, Any]) -> object:
    """What a function returns. Misbehaviour where it raises, or leaves the thread other than it was."""
    try:
        with np.errstate(all="ignore"):
            returned = function(*arrays, **named)
            left = np.geterr()
    except (Misbehaviour, Skipped):
        raise
    except NotImplementedError as e:
        raise Skipped(str(e).partition("\n")[0]) from e
    except Exception as e:
        raise Misbehaviour(f"raised {type(e).__name__}: {e}\n{_own_frames(e)}") from e
    if {*left.values()} != {"ignore"}:
        raise Misbehaviour(f"left np.seterr changed, to {left}")
    if HALF * SMALLEST == 0:
        raise Misbehaviour("left this thread flushing subnormal numbers to zero")
    return returned


# Their product is subnormal. Arrays, so that it is computed each time.
HALF, SMALLEST = np.array([0.5]), np.array([np.finfo(np.float64).smallest_normal])


def _refuse_changes(case: Case, given: Arrays, own: Arrays, is_forward: bool, sentence: str) -> None:
    """Misbehaviour where an array no longer holds the numbers that it was given."""
    names = [*([] if is_forward else ["the cotangent"]), *(f"its input {n}" for n in case.op.inputs)]
    for name, x, then in zip(names, given, own, strict=True):
        if x is not None and then is not None and not same_bits(x, then):
            raise Misbehaviour(sentence.format(name))


def _copied(results: Arrays) -> Arrays:
    return [None if r is None else np.array(r) for r in results]


def _own_frames(error: Exception) -> str:
    """The frames of the traceback that belong to the tested code."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    return "".join(traceback.format_list(frames)).rstrip()


def accept(value: object, what: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """A result as an array. Misbehaviour where it is none, or has another shape or dtype."""
    if not isinstance(value, (np.ndarray, np.generic)):
        raise Misbehaviour(f"{what} is a {type(value).__name__}, expected a NumPy array of {dtype} and shape {shape}")
    value = np.asarray(value)  # no subclass, which may say one thing and hold another
    if value.dtype != dtype:
        raise Misbehaviour(f"{what} has dtype {value.dtype}, expected {dtype}")
    if value.shape != shape:
        raise Misbehaviour(f"{what} has shape {value.shape}, expected {shape}")
    return value


def differentiable(case: Case) -> list[bool]:
    """Which inputs of a case have a gradient."""
    return with_gradient(case.op, case.inputs)


def with_gradient(op: Op, inputs: Sequence[np.ndarray | None]) -> list[bool]:
    """Which inputs have a gradient: floats, unless the op says otherwise."""
    return [
        x is not None and x.dtype.kind not in "biu" and declared.differentiable
        for x, declared in zip(inputs, op.inputs.values(), strict=True)
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
        accept(value, f"grad[{name}]", x.shape, x.dtype) if want and x is not None else None
        for value, name, x, want in zip(padded, case.op.inputs, case.inputs, wanted, strict=True)
    ]
