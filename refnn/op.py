"""The record of an op: its mathematics and all that the rest of refnn derives from it."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from refnn.arithmetic import BLOCK, Convention
from refnn.arithmetic.floats import Floats, keep_freed_memory
from refnn.arithmetic.protocol import Arithmetic, N
from refnn.formats import FORMATS
from refnn.refusals import check_real, hint
from refnn.variants import DRAWN, Drawn, Shape, Variant, ordinary

Array = np.ndarray
Params = Mapping[str, Any]  # of whatever type an op takes each parameter
Half = Callable[..., Any]  # a forward or a vjp, of the arrays of any arithmetic

KINDS = ("real", "unit", "mask", "slope", "boolean", "classes", "probabilities", "target")


@dataclass(frozen=True)
class Input:
    """An array input of an op.

        >>> scores, labels = refnn.Input(), refnn.Input("classes", of="scores", axis=1, differentiable=False)
        >>> scores.kind, labels.kind, labels.classes((8, 10))
        ('real', 'classes', 1)

    `kind` says what the array holds: "real" numbers, "classes" (int64 indices), "probabilities", a "target" (classes,
    or probabilities in the shape of the input `of`), "unit" (numbers from 0 to 1), "mask" (the numbers 0 and 1),
    "slope" (numbers from 1/8 to 1/3) or "boolean" (no numbers, but what `ar.where` and `ar.max` choose by). An
    `optional` input may be None. `differentiable` says whether the vjp has a gradient for it.

    Class indices count along `axis` of the input `of`. The axis may be a function of the number of axes. Probabilities
    count along `axis` of their own array. `ignored` names the parameter that holds the index of samples to ignore.
    `within` is the domain of real numbers: the least and the greatest that families of inputs draw. What lies outside
    is a special value. `poles` are the numbers at which the output or a gradient is infinite.
    """

    kind: str = "real"
    optional: bool = False
    differentiable: bool = True
    of: str | None = None
    axis: int | Callable[[int], int] = -1
    ignored: str | None = None
    within: tuple[float, float] = (-math.inf, math.inf)
    poles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"an input's kind {self.kind!r} is not one of {', '.join(KINDS)}")
        if self.kind in ("classes", "target") and self.of is None:
            raise ValueError(
                f"an input of kind {self.kind!r} must say which input its classes belong to: "
                f"Input({self.kind!r}, of=..., axis=-1)"
            )
        if not self.within[0] < self.within[1]:
            raise ValueError(f"an input is within {self.within}, expected the least number and a greater one")

    def classes(self, shape: tuple[int, ...]) -> int:
        """The axis of an array of this shape along which the classes count."""
        return self.axis(len(shape)) if callable(self.axis) else self.axis


@dataclass(frozen=True)
class Special:
    """A row of an op's table of special values: the results that are right at these inputs, and why.

    `inputs`, `output` and `grads` hold numbers, or nested lists of numbers in the shapes of the arrays. `grads` has one
    entry for each input. None stands for an input that is absent, or for a result that may be anything. A tuple of
    numbers stands for a result that may be any of them. "+0" and "-0" ask for the sign, 0 takes either zero.
    `cotangent` is the number that fills the cotangent. If the list of a row stands for a slice along an axis, `axis`
    names the parameter that says which. The row then holds for every slice that has a NaN, one infinity or several
    infinities as the row has. If a cotangent of 0 meets a slope that is NaN or infinite, 0 and NaN are both right.
    """

    inputs: tuple[Any, ...]
    output: Any
    grads: tuple[Any, ...]
    why: str
    params: Params = field(default_factory=dict)
    cotangent: float = 1.0
    axis: str | None = None


@dataclass(frozen=True)
class Sum:
    """How a loss, which is one number, is the sum of the losses of its samples.

    With the parameters `of` the op gives the losses of the samples, as rows that do not depend on each other. A mean
    divides their sum by `over(ar, *inputs, **params)`. For a part of the samples `over` gives the share of that part:
    the shares add up. `over` is None for a sum.
    """

    of: Params
    over: Half | None = None


def _demands(entry: object) -> bool:
    """Whether an entry of a table of special values asks for something anywhere."""
    return any(map(_demands, entry)) if isinstance(entry, list) else entry is not None


@dataclass(frozen=True, eq=False)
class Op:
    """One operation.

        >>> def forward(ar, x): return ar.product(x, x)
        >>> def vjp(ar, g, y, x): return (ar.product(2, g, x),)
        >>> variants = (refnn.Variant({"x": (5, 7)}),)
        >>> square = refnn.Op("square", forward, vjp, {"x": refnn.Input()}, lambda inputs, params: None, variants)
        >>> square(np.array([3.0])), square.vjp(np.array([1.0]), np.array([3.0]))
        (array([9.]), (array([6.]),))
        >>> refnn.check(square, forward=np.square, vjp=lambda g, x: (2 * g * x,)).ok
        True

    `forward_definition(ar, *inputs, **params)` and `vjp_definition(ar, g, y, *inputs, **params)` are written in the
    primitives of an arithmetic `ar`. `g` is the cotangent and `y` the output. The vjp returns one gradient for each
    input. The methods `forward` and `vjp` take and return NumPy arrays. `validate(inputs, params)` raises ValueError
    with one sentence.

    A check runs the op in each of its `variants`, and in those of `usual(op)`. The variants are small and odd, so that
    witnesses can follow each element. The usual ones are the shapes and parameters of real networks and the sizes at
    which kernels work in another way; by default they are those of `refnn.variants.ordinary`.

    `algorithms` names other sound algorithms, each a pair of a forward and a vjp. An op also has the algorithms of the
    ops that its definition calls. For example, if it calls refnn.gelu.forward_definition, its algorithm "gelu: sum" is
    the same definition with gelu's algorithm `sum`. To find these ops, refnn runs the variants when `algorithms` is
    first read.

    `kinks` names conventions. Each says what it takes at kinks or ties (see `refnn.arithmetic.Convention`), and the
    first one is refnn's own. `special` is the table of special values. `equations` are the equations of the sources,
    each the key of a source and what the source calls the equation.

    `rowwise(ndim, params)` says whether no row along axis 0 depends on another; all inputs and results then have this
    axis, and ndim is that of the first input. It holds whether or not optional inputs are absent. If it is so for ndim
    1, then no element depends on another where all arrays have one shape. `summed(params)` says how a loss is the sum
    of the losses of its rows, or is None. refnn evaluates large inputs of such ops in pieces, others whole.
    """

    name: str
    forward_definition: Half
    vjp_definition: Half
    inputs: Mapping[str, Input]
    validate: Callable[[Params, Params], None]
    variants: tuple[Variant, ...]
    algorithms: Mapping[str, tuple[Half, Half]] = field(default_factory=dict)
    kinks: Mapping[str, Convention] = field(default_factory=dict)
    special: tuple[Special, ...] = ()
    rowwise: Callable[[int, Params], bool] = lambda ndim, params: False
    summed: Callable[[Params], Sum | None] = lambda params: None
    equations: tuple[str, ...] = ()
    usual: Callable[[Op], Iterable[Variant]] = ordinary

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"op name {self.name!r} is not an identifier")
        if not self.variants:
            raise ValueError(f"op {self.name!r} has no variants: nothing would be checked")
        for row in self.special:
            if not len(row.inputs) == len(row.grads) == len(self.inputs):
                raise ValueError(
                    f"op {self.name!r}: the row {row.inputs} of special values has the gradients {row.grads}, "
                    f"expected one entry for each of {len(self.inputs)} inputs"
                )
            if row.axis is not None and row.axis not in self.defaults:
                raise ValueError(
                    f"op {self.name!r}: the row {row.inputs} of special values has the axis {row.axis!r}, "
                    f"expected one of the parameters {list(self.defaults)}"
                )
            if not any(map(_demands, (row.output, *row.grads))):
                raise ValueError(f"op {self.name!r}: the row {row.inputs} of special values asks for nothing")
        if any(p.kind is p.VAR_POSITIONAL for p in self._signature(self.forward_definition)):
            return  # a network: its inputs have names that are no Python parameters
        # Set as a frozen dataclass allows: what was given, so that others may call it, and what they make of it.
        object.__setattr__(self, "algorithms", Algorithms(self, self.algorithms))
        for which, half in enumerate(("forward_definition", "vjp_definition")):
            object.__setattr__(self, half, _replaceable(self, which, getattr(self, half)))
        taken = [p.name for p in self._signature(self.forward_definition) if p.kind is not p.KEYWORD_ONLY][1:]
        if taken != list(self.inputs):
            raise ValueError(f"op {self.name!r}: forward takes {taken}, but its inputs are {list(self.inputs)}")
        for forward, vjp in (self.algorithm("accurate"), *_own(self.algorithms).values()):
            for f, extra in ((forward, 1), (vjp, 3)):
                names = [p.name for p in self._signature(f)]
                if names[extra:] != [*self.inputs, *self.defaults]:
                    raise ValueError(f"op {self.name!r}: {f.__name__} takes {names}, unlike forward")
                defaults = {p.name: p.default for p in self._signature(f) if p.kind is p.KEYWORD_ONLY}
                if defaults != self.defaults:
                    raise ValueError(f"op {self.name!r}: {f.__name__} has the defaults {defaults}, unlike forward")
        for name, declared in self.inputs.items():
            if declared.of is not None and declared.of not in self.inputs:
                raise ValueError(
                    f"op {self.name!r}: {name} holds classes of {declared.of!r}, which is not one of its inputs"
                )
            if declared.ignored is not None and declared.ignored not in self.defaults:
                raise ValueError(
                    f"op {self.name!r}: {name} is ignored at {declared.ignored!r}, which is not one of its parameters"
                )
        for variant in self.variants:
            self._refuse_variant(variant)

    def _refuse_variant(self, variant: Variant) -> None:
        if not isinstance(variant, Variant):
            raise TypeError(f"op {self.name!r}: a variant is {variant!r}, expected refnn.Variant(shapes, params)")
        if list(variant.shapes) != list(self.inputs):
            raise ValueError(
                f"op {self.name!r}: a variant has the shapes {variant.shapes}, expected {list(self.inputs)}"
            )
        if not set(variant.params) <= set(self.defaults):
            raise ValueError(
                f"op {self.name!r}: a variant has the params {variant.params}, expected {list(self.defaults)}"
            )

    def takes(self, variant: Variant) -> bool:
        """Whether the shapes and the parameters of a variant go together."""
        try:
            arrays, params = _filled(self, variant)
            self.validate(dict(zip(self.inputs, arrays, strict=True)), params)
            with np.errstate(all="ignore"):
                self.forward_definition(Floats(np.float32), *arrays, **params)
        except Exception:
            return False  # a record of one's own may refuse a shape in its own way
        return True

    @cached_property
    def configurations(self) -> tuple[Variant, ...]:
        """What a check runs: the variants, and the usual ones that the op takes, each once."""

        def told_apart(v: Variant) -> Any:
            return v.shapes, {**self.defaults, **v.params}, v.kinds

        found = list(self.variants)
        for variant in self.usual(self):
            self._refuse_variant(variant)
            if told_apart(variant) not in map(told_apart, found) and self.takes(variant):
                found.append(variant)
        return tuple(found)

    @staticmethod
    def _signature(f: Half) -> Iterable[inspect.Parameter]:
        return inspect.signature(f).parameters.values()

    @cached_property
    def defaults(self) -> Params:
        """The parameters with their defaults, as `forward` declares them; without one, `inspect.Parameter.empty`."""
        return MappingProxyType(
            {p.name: p.default for p in self._signature(self.forward_definition) if p.kind is p.KEYWORD_ONLY}
        )

    @property
    def convention(self) -> Convention:
        """The convention at kinks and ties that refnn itself follows: the first in `kinks`."""
        return next(iter(self.kinks.values()), 0.0)

    def algorithm(self, name: str) -> tuple[Half, Half]:
        """The forward and the vjp of a declared algorithm; "accurate" is the op's own definition."""
        if name == "accurate":
            return self.forward_definition, self.vjp_definition
        if name not in self.algorithms:
            known = ", ".join(["accurate", *self.algorithms])
            raise ValueError(f"{self.name} has no algorithm {name!r}, it declares: {known}")
        return self.algorithms[name]

    # --- use as a function -------------------------------------------------------------------------------------------

    def bind(
        self, inputs: Sequence[ArrayLike | None], params: Params
    ) -> tuple[tuple[Array | None, ...], dict[str, Any]]:
        """The inputs as arrays of one float dtype, and the parameters with their defaults, both validated.

        TypeError or ValueError says in one sentence what is wrong with them.
        """
        names = list(self.inputs)
        required = [n for n, i in self.inputs.items() if not i.optional]
        if not len(required) <= len(inputs) <= len(names):
            raise TypeError(f"{self.name} takes the arrays {', '.join(names)}, got {len(inputs)} of them")
        for key in params:
            if key not in self.defaults:
                known = ", ".join(self.defaults) or "none"
                raise TypeError(f"{self.name} has no parameter {key!r} (it has: {known}){hint(key, self.defaults)}")
        full = {**self.defaults, **params}
        if missing := [k for k, v in full.items() if v is inspect.Parameter.empty]:
            raise TypeError(f"{self.name} needs the parameter {missing[0]!r}")
        padded = (*inputs, *[None] * (len(names) - len(inputs)))
        arrays = {n: self._as_input(n, x) for n, x in zip(names, padded, strict=True)}
        dtypes = {n: x.dtype.name for n, x in arrays.items() if x is not None and x.dtype.name in FORMATS}
        if len(set(dtypes.values())) > 1:
            listed = ", ".join(f"{n} is {d}" for n, d in dtypes.items())
            raise TypeError(f"{self.name} takes arrays of one dtype, but {listed}")
        for key, default in self.defaults.items():  # what a parameter takes is what its default is
            if isinstance(default, bool) and not isinstance(full[key], bool):
                raise ValueError(f"{self.name}: {key} is {full[key]!r}, expected True or False")
            if isinstance(default, float):
                check_real(self.name, full, key)
        self.validate(arrays, full)
        return tuple(arrays.values()), full

    def _as_input(self, name: str, x: ArrayLike | None) -> np.ndarray | None:
        declared = self.inputs[name]
        if x is None:
            if not declared.optional:
                raise TypeError(f"{self.name}: {name} is None, expected an array")
            return None
        array = np.asarray(x)
        integer = array.dtype.kind in "iu"
        if declared.kind == "classes" or (declared.kind == "target" and integer):
            if not integer:
                raise TypeError(f"{self.name}: {name} has dtype {array.dtype}, expected integer class indices")
            return array.astype(np.int64, copy=False)
        if declared.kind == "boolean":
            if array.dtype != bool:
                raise TypeError(f"{self.name}: {name} has dtype {array.dtype}, expected bool")
            return array
        if array.dtype.name not in FORMATS:
            raise TypeError(f"{self.name}: {name} has dtype {array.dtype}, expected one of {', '.join(FORMATS)}")
        return array

    def dtype_of(self, inputs: Iterable[np.ndarray | None]) -> np.dtype[Any]:
        """The float dtype that the inputs share."""
        return next(x.dtype for x in inputs if x is not None and x.dtype.name in FORMATS)

    def __call__(self, *inputs: ArrayLike | None, **params: Any) -> Array:
        """The same as `forward`."""
        return self.forward(*inputs, **params)

    def forward(self, *inputs: ArrayLike | None, **params: Any) -> Array:
        """The output, in the dtype of the inputs. TypeError or ValueError says what is wrong with them."""
        arrays, full = self.bind(inputs, params)
        ar = Floats(self.dtype_of(arrays), convention=self.convention)
        with np.errstate(all="ignore"):
            return np.asarray(ar.store(self.forward_definition(ar, *lift(ar, arrays), **full)))

    def vjp(self, g: ArrayLike, *inputs: ArrayLike | None, **params: Any) -> tuple[Array | None, ...]:
        """The gradient for each input, given the cotangent `g` of the output (of its shape and dtype)."""
        return self.pullback(*inputs, **params)[1](g)

    def pullback(
        self, *inputs: ArrayLike | None, **params: Any
    ) -> tuple[Array, Callable[[ArrayLike], tuple[Array | None, ...]]]:
        """The output, and the function that takes its cotangent to the gradients. The forward runs once."""
        arrays, full = self.bind(inputs, params)
        if max(x.size for x in arrays if x is not None) > BLOCK:
            keep_freed_memory()
        ar = Floats(self.dtype_of(arrays), convention=self.convention)
        lifted = lift(ar, arrays)
        with np.errstate(all="ignore"):
            y = ar.store(self.forward_definition(ar, *lifted, **full))

        def pull(g: ArrayLike) -> tuple[Array | None, ...]:
            cotangent = self.cotangent(g, y.shape, y.dtype)
            with np.errstate(all="ignore"):
                grads = self.vjp_definition(ar, ar.array(cotangent), ar.array(y), *lifted, **full)
                return tuple(None if v is None else ar.store(v) for v in grads)

        return y, pull

    def cotangent(self, g: ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """`g` as an array, if it has the shape and dtype of the output; ValueError or TypeError otherwise."""
        array = np.asarray(g)
        if array.shape != shape:
            raise ValueError(
                f"{self.name}: the cotangent has shape {array.shape}, expected that of the output, {shape}"
            )
        if array.dtype != dtype:
            raise TypeError(f"{self.name}: the cotangent has dtype {array.dtype}, expected that of the output, {dtype}")
        return array

    def __repr__(self) -> str:
        params = [f"{k}" if v is inspect.Parameter.empty else f"{k}={v!r}" for k, v in self.defaults.items()]
        return f"refnn.{self.name}({', '.join([*self.inputs, *(['*', *params] if params else [])])})"


# --- algorithms of the ops that a definition calls --------------------------------------------------------------------

# The algorithm that replaces the definition of an op when another definition calls it; and the halves of ops that were
# called: 0 for a forward, 1 for a vjp.
_CHOSEN: ContextVar[Mapping[Op, str]] = ContextVar("chosen", default=MappingProxyType({}))
_CALLED: ContextVar[dict[Op, set[int]] | None] = ContextVar("called", default=None)


class Algorithms(Mapping[str, tuple[Half, Half]]):
    """The algorithms that an op declares (its `own`), and those of the ops that its definition calls."""

    def __init__(self, op: Op, given: Mapping[str, tuple[Half, Half]]) -> None:
        self.own, self._op = _own(given), op

    @cached_property
    def _all(self) -> Mapping[str, tuple[Half, Half]]:
        op, found = self._op, dict(self.own)
        for part, halves in _called_by(op).items():
            own = [getattr(half, "__wrapped__", half) for half in (part.forward_definition, part.vjp_definition)]
            for name, other in _own(part.algorithms).items():
                if any(other[half] is not own[half] for half in halves):
                    found[f"{part.name}: {name}"] = (
                        _with(part, name, op.forward_definition),
                        _with(part, name, op.vjp_definition),
                    )
        return found

    def __getitem__(self, name: str) -> tuple[Half, Half]:
        return self.own[name] if name in self.own else self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


def _own(given: Mapping[str, tuple[Half, Half]]) -> Mapping[str, tuple[Half, Half]]:
    """The algorithms without those of other ops."""
    return given.own if isinstance(given, Algorithms) else given


def _replaceable(op: Op, which: int, half: Half) -> Half:
    """The forward (0) or the vjp (1) of an op as others call it: a chosen algorithm may replace it."""
    if getattr(half, "part", None) == (op.name, id(half)):  # of a record that this one was made from, as it was
        half = half.__wrapped__  # type: ignore[attr-defined]

    @functools.wraps(half)
    def called(*args: Any, **params: Any) -> Any:
        if (seen := _CALLED.get()) is not None:
            seen.setdefault(op, set()).add(which)
        chosen = _CHOSEN.get()
        if op not in chosen:
            return half(*args, **params)
        token = _CHOSEN.set({k: v for k, v in chosen.items() if k is not op})  # an algorithm may call the definition
        try:
            return op.algorithms[chosen[op]][which](*args, **params)
        finally:
            _CHOSEN.reset(token)

    called.part = op.name, id(called)  # type: ignore[attr-defined]  # functools.wraps copies it to others
    return called


def _with(part: Op, name: str, half: Half) -> Half:
    """Half of a definition, with an algorithm of one of the ops that it calls."""

    @functools.wraps(half)
    def called(*args: Any, **params: Any) -> Any:
        token = _CHOSEN.set({**_CHOSEN.get(), part: name})
        try:
            return half(*args, **params)
        finally:
            _CHOSEN.reset(token)

    return called


def _called_by(op: Op) -> dict[Op, set[int]]:
    """The other ops that a definition calls, directly or through others, in the order of their first calls, and the
    halves of each that it calls."""
    seen: dict[Op, set[int]] = {}
    token, ar = _CALLED.set(seen), Floats(np.float32)
    try:
        for variant in op.variants:
            arrays, params = _filled(op, variant)
            with np.errstate(all="ignore"):
                y = op.forward_definition(ar, *arrays, **params)
                op.vjp_definition(ar, np.ones_like(y), y, *arrays, **params)
    except Exception:
        return {}  # what cannot be run says so where it is judged
    finally:
        _CALLED.reset(token)
    return {part: halves for part, halves in seen.items() if part.name != op.name}


def _filled(op: Op, variant: Variant) -> tuple[list[Array | None], dict[str, Any]]:
    """Arrays of ones, or of class index 0, and the parameters of a variant. The numbers do not matter: which ops a
    definition calls does not depend on them."""
    arrays: list[Array | None] = []
    for name, declared in op.inputs.items():
        shape = variant.shapes[name]
        indices = variant.kind(name, declared) in ("classes", "ignored")
        arrays.append(None if shape is None else np.zeros(shape, np.int64) if indices else np.ones(shape, np.float32))
    drawn = {
        k: np.ones(v.shape(variant.first), np.float32) if isinstance(v, Drawn) else v for k, v in variant.params.items()
    }
    return arrays, {**op.defaults, **drawn}


def lift(ar: Arithmetic[N], inputs: Iterable[np.ndarray | None]) -> list[N | np.ndarray | None]:
    """Arrays of floats lifted into an arithmetic. Arrays of integers, of booleans, and None stay as they are."""
    return [x if x is None or x.dtype.kind in "biu" else ar.array(x) for x in inputs]


__all__ = ["DRAWN", "Drawn", "Input", "Op", "Shape", "Special", "Sum", "Variant", "lift"]
