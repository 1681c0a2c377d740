"""What is special about a case, in plain words, and which cases a selection takes.

The words name groups of cases: those that `refnn cases` lists, `--without` leaves out, and a report says an
implementation does not support.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from refnn.judging.case import Case
from refnn.op import Input, Op
from refnn.report.profiles import SPECIAL

# A predicate of a case, or what the parts of a case must be, by name (see `unmet`).
Where = Mapping[str, Any] | Callable[[Case], Any]
FACTS = ("shape", "rank", "family", "group")  # what a selection may name besides parameters and inputs


# --- groups ----------------------------------------------------------------------------------------------------------


def groups(case: Case) -> tuple[str, ...]:
    """What is special about a case, in plain words.

    >>> from refnn import case
    >>> groups(case("conv2d/float32/normal/x=1x2x2x2,weight=2x2x2x3,dilation=(1,2),padding=full"))
    ("padding='full'", 'dilation for each axis')
    """
    op, first = case.op, case.inputs[0]
    assert first is not None
    found = []
    if any(x is not None and not _finite(x) for x in case.inputs):
        found.append("non-finite input")
    if not _finite(case.cotangent):
        found.append("non-finite cotangent")
    if first.size == 0:
        found.append("empty batch" if first.shape[0] == 0 else "empty input")
    for (name, declared), x in zip(op.inputs.items(), case.inputs, strict=True):
        if x is None:
            found.append(f"no {name}")
        elif declared.kind == "target":
            found.append(f"{_kind(case, declared, x)} as {name}")
        elif _kind(case, declared, x) == "ignored":
            found.append(f"every {name} ignored")
    words = (parameter(name, value, op.defaults.get(name)) for name, value in case.params.items())
    found += [w for w in words if w]
    if case.layout != "C":
        found.append(f"layout {case.layout}")
    if (rank := _rank(case)) is not None:
        found.insert(0, rank)
    return tuple(found)


def _finite(x: np.ndarray) -> bool:
    return x.dtype.kind in "biu" or bool(np.isfinite(x.astype(np.float64)).all())


def _rank(case: Case) -> str | None:
    """The words for the number of axes of the first input; None where it is the usual one of the op."""
    first = case.inputs[0]
    assert first is not None
    if spatial := re.search(r"([123])d$", case.op.name):  # as torch calls what slides over so many axes
        return "unbatched input" if first.ndim == int(spatial[1]) + 1 else None
    classes = [i for i in case.op.inputs.values() if i.kind in ("classes", "target")]
    if classes and classes[0].classes(first.shape) % max(first.ndim, 1) == 0:
        return "unbatched input"
    return None if first.ndim == 2 else f"{first.ndim}-d input"


def _kind(case: Case, declared: Input, x: np.ndarray) -> str:
    """What an input of a case holds."""
    if x.dtype.kind not in "biu":
        return "probabilities" if declared.kind == "target" else declared.kind
    ignored = declared.ignored is not None and x.size > 0 and bool((x == case.params[declared.ignored]).all())
    return "ignored" if ignored else "classes"


def parameter(name: str, value: Any, default: Any) -> str:
    """What is special about a value of a parameter, in words; empty if nothing is.

    >>> parameter("label_smoothing", 0.1, 0.0), parameter("dilation", 2, 1), parameter("padding", (2, 1), 0)
    ('label smoothing', 'dilation other than 1', 'padding for each axis')
    >>> parameter("normalized_shape", (4,), ()), parameter("normalized_shape", (3, 4), ())
    ('', 'normalized shape of 2 axes')
    """
    words = name.replace("_", " ")
    if same(value, default):
        return ""
    if isinstance(value, np.ndarray):
        return words
    if isinstance(value, (tuple, list)) and name.endswith("shape"):
        return f"{words} of {len(value)} axes" if len(value) > 1 else ""
    if isinstance(value, (tuple, list)):
        return f"{words} in pairs" if any(isinstance(v, (tuple, list)) for v in value) else f"{words} for each axis"
    if value is True:
        return words
    if value is None or isinstance(value, (bool, str)):
        return f"{name}={value!r}"
    if default is inspect.Parameter.empty:
        return ""  # a number that has to be given is as good as any other
    return words if default is None or default == 0 else f"{words} other than {default}"


def same(a: Any, b: Any) -> bool:
    """Whether two values of a parameter are one. An array is the same as an equal array only."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return type(a) is type(b) and np.array_equal(a, b)
    return bool(a == b)


def ordinary(case: Case) -> bool:
    """Whether a case is one of those that nearly every implementation meets: a batch of finite numbers."""
    odd = ("non-finite input", "non-finite cotangent", "empty batch", "empty input", "unbatched input", "0-d input")
    return case.family not in SPECIAL and not any(g in odd for g in groups(case))


def named(unsupported: Sequence[Case], supported: Iterable[Case]) -> dict[str, str]:
    """Case id -> the group for which it is not supported, where the implementation does not say so itself.

    It is a group of which no case is supported, and the one that says most, so that a few groups say all. A case whose
    groups are supported in other cases has the words for all of them.
    """
    seen = {g for c in supported for g in groups(c)}
    own = {c.id: groups(c) for c in unsupported}
    left = {id: [g for g in of if g not in seen] for id, of in own.items()}
    found = {id: " with ".join(own[id]) or "ordinary input" for id, of in left.items() if not of}
    while waiting := {id: of for id, of in left.items() if id not in found}:
        most = Counter(g for of in waiting.values() for g in of).most_common(1)[0][0]
        found |= {id: most for id, of in waiting.items() if most in of}
    return found


# --- selections ------------------------------------------------------------------------------------------------------


def check_where(op: Op, where: Where) -> None:
    """TypeError if a selection is none, or names something that the cases of the op do not have."""
    if not callable(where) and not isinstance(where, Mapping):
        raise TypeError(
            f"{op.name}: a selection of cases is {where!r}, expected a mapping such as {{'rank': 2}} or a predicate"
        )
    for name in () if callable(where) else where:
        if name not in op.defaults and name not in op.inputs and name not in FACTS:
            raise TypeError(
                f"{op.name} has no parameter {name!r} to select by, it has: {', '.join(op.defaults) or 'none'}; "
                f"besides, its inputs {', '.join(op.inputs)}, and {', '.join(FACTS)}"
            )


def unmet(case: Case, where: Where) -> str | None:
    """What a case has that a selection does not take, in words; None if it takes the case.

    The name of a parameter stands for its value, that of an input for what the input holds (or None where it is
    absent), "shape" and "rank" for those of the first input, "family" for the input family, and "group" for each of
    the case's `groups`. What is asked for is a value, a set, list or range of values, or a predicate of the value. A
    predicate of a group gets the tuple of all groups. The beginning of a group's words names it, too. A selection that
    is a predicate of cases may return the words.
    """
    if callable(where):
        said = where(case)
        return said if isinstance(said, str) else None if said else ""
    for name, wanted in where.items():
        if name in case.op.defaults:
            value = case.params[name]
            met, words = _takes(wanted, value), parameter(name, value, case.op.defaults[name]) or f"{name}={value!r}"
        elif name in case.op.inputs:
            declared, x = case.op.inputs[name], case.inputs[list(case.op.inputs).index(name)]
            value = None if x is None else _kind(case, declared, x)
            met, words = _takes(wanted, value), f"no {name}" if value is None else f"{value} as {name}"
        elif name == "group":
            found = groups(case)
            met = bool(wanted(found)) if callable(wanted) else any(begins(g, w) for g in found for w in _values(wanted))
            words = ""
        else:
            x = case.inputs[0]
            assert x is not None
            value = {"shape": x.shape, "rank": x.ndim, "family": case.family}[name]
            met = _takes(wanted, value)
            words = f"{_rank(case) or f'{x.ndim}-d input'}" if name == "rank" else f"{name} {value}"
        if not met:
            return words
    return None


def _values(wanted: Any) -> Iterable[Any]:
    """The values that are asked for. A tuple is one value: that of a parameter, or a shape."""
    return wanted if isinstance(wanted, (set, frozenset, list, range)) else (wanted,)


def _takes(wanted: Any, value: Any) -> bool:
    if callable(wanted):
        return bool(wanted(value))
    return any(same(w, value) for w in _values(wanted))


def begins(group: str, name: str) -> bool:
    """Whether a name is that of a group: its words, or the first of them."""
    return re.match(re.escape(name) + r"(?!\w)", group) is not None


def lacking(names: Sequence[str]) -> Callable[[Case], bool | str]:
    """A predicate for `supports=`: a case of any of these groups is not supported, and the group says why."""

    def supported(case: Case) -> bool | str:
        return next((g for g in groups(case) if any(begins(g, n) for n in names)), True)

    return supported
