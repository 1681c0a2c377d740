"""Sentences of refusal that several ops and programs need: what was given, and what was expected; what is missing."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

# --- sentences that several ops need ---------------------------------------------------------------------------------


def check_axis(op: str, x: np.ndarray, axis: Any) -> None:
    """ValueError unless `axis` is an axis of x that is not empty."""
    if not isinstance(axis, int) or not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"{op}: axis is {axis!r}, expected an integer from {-x.ndim} to {x.ndim - 1} for shape {x.shape}"
        )
    if x.shape[axis] == 0:
        raise ValueError(f"{op}: axis {axis} of shape {x.shape} is empty, expected at least one element")


def check_real(op: str, params: Mapping[str, Any], *names: str) -> None:
    """ValueError unless each of these parameters is a finite number."""
    for name in names:
        value = params[name]
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"{op}: {name} is {value!r}, expected a finite number")


def check_same_shape(op: str, inputs: Mapping[str, Any]) -> None:
    """ValueError unless all arrays have one shape."""
    shapes = {n: x.shape for n, x in inputs.items() if x is not None}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{op}: {', '.join(f'{n} has shape {s}' for n, s in shapes.items())}, expected the same shape")


def check_choice(op: str, name: str, value: Any, choices: tuple[str, ...]) -> None:
    """ValueError unless `value` is one of `choices`; it names the nearest."""
    if value not in choices:
        expected = ", ".join(map(repr, choices))
        raise ValueError(f"{op}: {name} is {value!r}, expected one of {expected}{hint(value, choices)}")


def check_each(name: str, x: np.ndarray, allowed: Any, expected: str) -> None:
    """ValueError with the position of the first element that is not allowed, by a mask of the shape of x."""
    wrong = ~np.asarray(allowed, dtype=bool)
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0].tolist())
        raise ValueError(f"{name}{list(place) or ''} is {x[place]}, expected {expected}")


def check_finite(name: str, x: np.ndarray) -> None:
    """ValueError with the position of the first NaN or infinity, in an array of floats or other numbers."""
    with np.errstate(invalid="ignore"):  # NaN among other numbers is compared, too
        check_each(name, x, np.abs(x) < np.inf, "a finite number")


# --- names -----------------------------------------------------------------------------------------------------------

NEAR = 0.7  # the least similarity, by difflib's ratio, of a name to one that is worth a hint


def nearest(given: Any, known: Iterable[str]) -> str:
    """The known name that is most similar to what was given; empty where none is similar enough.

    >>> nearest("sotfmax", ["relu", "softmax"]), nearest("attention", ["flatten"])
    ('softmax', '')
    """
    return next(iter(difflib.get_close_matches(str(given), list(known), 1, NEAR)), "")


def hint(given: Any, known: Iterable[str]) -> str:
    """The end of a sentence that refuses a name: the nearest one, or nothing."""
    near = nearest(given, known)
    return f", did you mean {near!r}?" if near else ""


def several(given: Any) -> tuple[Any, ...]:
    """What was given as one or as several: a text is one, and so is what cannot be gone through.

    >>> several("explained"), several(["normal", "large"]), several(3)
    (('explained',), ('normal', 'large'), (3,))
    """
    return (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)


# --- libraries that are not installed --------------------------------------------------------------------------------


class NotInstalled(ImportError):
    """A library of an extra is missing. The message says which, what needs it, and how to install it."""


@contextmanager
def needed_by(what: str, extra: str = "report") -> Iterator[None]:
    """NotInstalled where an import of what belongs to that extra of refnn fails, because `what` needs it."""
    try:
        yield
    except ModuleNotFoundError as e:
        name = str(e.name).partition(".")[0]
        raise NotInstalled(f"{what} needs {name}, which is not installed: pip install 'refnn[{extra}]'") from e
