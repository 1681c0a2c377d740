"""Calls of ops that owe nothing to the cases of a check: they decide which evasions there are.

An evasion counts where its condition holds in some probe and its effect changes a result there. So what a check misses
is counted, and what no input could show is not: ceil_mode of softmax, a gradient of zeros times 1.5.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refnn.formats import FORMATS
from refnn.judging.call import call
from refnn.judging.case import LAYOUTS, Case
from refnn.judging.cases import Turn, build
from refnn.op import Drawn, Op, Variant
from refnn.ops import OPS
from refnn.study.power import evasions
from refnn.study.power.evasions import CALLS, EFFECTS, TIGHT, Call, Evasion, Holds, Results, under
from refnn.study.power.mutant import Array

FLOAT32 = FORMATS["float32"]
VISIBLE = 1e-3  # of the right number, beyond what rounding does: no claim, it decides which evasions are counted
TRIED = 6  # probes in which a condition holds

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """Ops that take the same shapes: those of the first input, what `make` makes of one and of parameters, and the
    values that parameters have beside their defaults. A factor without a parameter of its name is of the shapes."""

    sizes: tuple[Shape, ...]
    make: Callable[..., Variant]
    factors: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    extra: Mapping[str, Holds] = field(default_factory=dict)
    others: tuple[Variant, ...] = ()  # in which some extra condition holds


SIZES: tuple[Shape, ...] = (
    *((1,), (2,), (5,), (7,), (8,), (15,), (17,), (64,), (300,), (1, 5), (4, 1), (4, 33), (2, 7, 3), (16, 3)),
    *((5, 6), (3, 5, 7), (2, 4, 8), (16, 64), (2, 16, 8, 8), (2, 3, 5, 4), (1, 4, 2, 3, 2), (1, 2048), (40, 70)),
    *((40, 140), (130, 65), (128, 320), (2, 2), (6, 4, 10)),
)
AXES: Mapping[int, Shape] = {1: (6,), 2: (5, 8), 3: (3, 4, 6), 4: (2, 3, 4, 6)}


def _alike(*names: str) -> Callable[..., Variant]:
    return lambda shape, axes=None, **params: Variant(dict.fromkeys(names, AXES.get(axes, shape)), params)


def _prelu(shape: Shape, axes: int | None = None, single: bool = False) -> Variant:
    shape = AXES.get(axes or 0, shape)
    return Variant({"x": shape, "weight": (1 if single or len(shape) < 2 else shape[1],)})


def _linear(shape: Shape, axes: int | None = None, bias: bool = True, outputs: int = 6) -> Variant:
    shape = AXES.get(axes or 0, shape)
    return Variant({"x": shape, "weight": (outputs, shape[-1]), "bias": (outputs,) if bias else None})


def _classes(shape: Shape, axes: int | None = None, target: str = "classes", **params: Any) -> Variant:
    shape = AXES.get(axes or 0, shape)
    axis = min(1, len(shape) - 1)
    whole = target == "probabilities"
    return Variant(
        {"input": shape, "target": shape if whole else shape[:axis] + shape[axis + 1 :]}, params, {"target": target}
    )


def _conv(transposed: bool) -> Callable[..., Variant]:
    def make(
        shape: Shape, kernel: Any = 3, groups: int = 1, bias: bool = True, batch: int | None = 2, **params: Any
    ) -> Variant:
        """4 channels in; of several groups 2 come out of each, of 4 groups 1."""
        rank = len(shape) - 2
        cells = (3, 1, 2)[:rank] if kernel == "mixed" else (kernel,) * rank
        channels, outputs = shape[1], shape[1] if groups == shape[1] else 6
        weight = (channels, outputs // groups) if transposed else (outputs, channels // groups)
        if params.get("padding") == "sides":
            params["padding"] = ((2, 1), (0, 1), (1, 0))[:rank]
        x = shape[1:] if batch is None else (batch if shape[0] == 2 else shape[0], *shape[1:])
        shapes = {"x": x, "weight": (*weight, *cells), "bias": (outputs,) if bias else None}
        return Variant(shapes, {"groups": groups, **params})

    return make


def _pool(shape: Shape, batch: int | None = 2, kernel_size: Any = 2, **params: Any) -> Variant:
    if kernel_size == "mixed":
        kernel_size = (3, 1, 2)[: len(shape) - 2]
    x = shape[1:] if batch is None else (batch if shape[0] == 2 else shape[0], *shape[1:])
    return Variant({"x": x}, {"kernel_size": kernel_size, **params})


# --- what a call has of a factor -------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """A parameter as it is compared: the one number of all axes, or what differs between them; the kind of weights."""
    if isinstance(value, np.ndarray):
        return "positive" if (value > 0).all() else "zeros and negatives"
    if isinstance(value, (tuple, list)):
        if any(isinstance(v, (tuple, list)) for v in value):
            return "sides"
        return value[0] if len(set(value)) == 1 else "mixed"
    return value


FACTS: Mapping[str, Callable[[Call], Any]] = {
    "axes": lambda c: c.x.ndim,
    "kernel": lambda c: _plain(c.second.shape[2:]),
    "bias": lambda c: c.inputs[2] is not None,
    "target": lambda c: "classes" if c.second.dtype.kind == "i" else "probabilities",
    "single": lambda c: c.second.size == 1,
}


def _batch(rank: int) -> Callable[[Call], int | None]:
    return lambda c: c.x.shape[0] if c.x.ndim == rank + 2 else None


def _has(op: Op, kind: Kind, name: str, value: Any) -> Holds:
    if name in op.defaults:
        wanted = value.kind if isinstance(value, Drawn) else value

        def holds(c: Call) -> bool:
            found = _plain(c.params[name])
            return type(found) is type(wanted) and found == wanted

        return holds
    of = _batch(len(kind.sizes[0]) - 2) if name == "batch" else FACTS[name]
    return lambda c: of(c) == value


def _shown(name: str, value: Any) -> str:
    return f"{name}={value}"


# --- conditions on windows -------------------------------------------------------------------------------------------


def _window(c: Call, name: str, rank: int) -> tuple[Any, ...]:
    value = c.params.get(name)
    value = c.params["kernel_size"] if value is None and name == "stride" else value
    return value if isinstance(value, tuple) else (value,) * rank


def _windows(rank: int, kernel_of: Callable[[Call], tuple[int, ...]]) -> dict[str, Holds]:
    def stride(c: Call) -> tuple[int, ...]:
        return _window(c, "stride", rank)

    def usual(kernel: int, step: int, padding: int) -> Holds:
        return lambda c: (
            set(kernel_of(c)) == {kernel} and set(stride(c)) == {step} and _plain(c.params["padding"]) == padding
        )

    return {
        "kernel = stride": lambda c: kernel_of(c) == stride(c) and max(stride(c)) > 1,
        "stride > kernel": lambda c: all(s > k for s, k in zip(stride(c), kernel_of(c), strict=True)),
        "kernel 3, stride 1, padding 1": usual(3, 1, 1),
        "kernel 3, stride 2, padding 1": usual(3, 2, 1),
        "kernel 3, stride 1, no padding": usual(3, 1, 0),
        "kernel 2, stride 2, even image": lambda c: usual(2, 2, 0)(c) and all(n % 2 == 0 for n in c.x.shape[-rank:]),
        "kernel 1, stride 1": usual(1, 1, 0),
        "kernel 1, stride 2": usual(1, 2, 0),
    }


def _over_images(rank: int, kernel_of: Callable[[Call], tuple[int, ...]]) -> dict[str, Holds]:
    """Of windows that are taken out of x, and not put down for each of its cells."""
    return {
        "kernel as large as the image": lambda c: kernel_of(c) == c.x.shape[-rank:] and max(kernel_of(c)) > 1,
        "two rows left over": lambda c: all(
            (n - k) % s > 1 and not c.params["padding"]
            for n, k, s in zip(c.x.shape[-rank:], kernel_of(c), _window(c, "stride", rank), strict=True)
        ),
    }


def _conv_kind(rank: int, transposed: bool = False) -> Kind:
    def image(n: int, channels: int, cells: int) -> Shape:
        return (n, channels, *(cells,) * rank)

    long = {1: 9000, 2: 70, 3: 18}[rank]
    sizes = (image(2, 4, 9 - rank), image(2, 4, 8), image(1, 1, 5), image(5, 3, 6), image(1, 12, 6), image(2, 16, 4))
    shapes = (*((*s[:-1], s[-1] + 1) for s in sizes[:2]), *sizes, image(1, 8, long), image(1, 70, 4), image(1, 130, 3))
    make = _conv(transposed)

    def kernel_of(c: Call) -> tuple[int, ...]:
        return c.second.shape[2:]

    extra: Mapping[str, Holds] = {
        **_windows(rank, kernel_of),
        **({} if transposed else _over_images(rank, kernel_of)),
        "kernel 4, stride 2, padding 1": lambda c: (
            set(kernel_of(c)) == {4} and _plain(c.params["stride"]) == 2 and _plain(c.params["padding"]) == 1
        ),
        "depthwise": lambda c: c.params["groups"] == len(c.second) > 1 and c.x.ndim == rank + 2,
        "depthwise, stride 2": lambda c: c.params["groups"] == len(c.second) > 1 and _plain(c.params["stride"]) == 2,
    }
    factors: dict[str, Sequence[Any]] = {
        "kernel": (1, 2, *((5,) if rank < 3 else ()), "mixed"),
        "stride": (2, 3),
        "padding": (1, 2, "sides") if transposed else (1, 2, "same", "full", "sides"),
        "dilation": (2,),
        "groups": (2, 4),
        "bias": (False,),
        "batch": (1, None),
        **({"output_padding": (1,)} if transposed else {}),
    }
    others = tuple(
        make(image(2, 4, cells), kernel=k, stride=s, padding=p, groups=g)
        for cells, k, s, p, g in itertools.product((5, 8, 10), (1, 2, 3, 4, 5), (1, 2, 3, 4), (0, 1), (1, 4))
    )
    return Kind(tuple(dict.fromkeys(shapes)), make, factors, extra, others)


def _pool_kind(rank: int, **own: Sequence[Any]) -> Kind:
    def image(n: int, channels: int, cells: int) -> Shape:
        return (n, channels, *(cells,) * rank)

    long = {1: 20_500, 2: 72, 3: 18}[rank]
    shapes = (image(2, 2, 8), image(2, 3, 7), image(1, 1, 5), image(5, 3, 6), image(1, 12, 6), image(2, 16, 4))
    sizes = (*((*s[:-1], s[-1] + 1) for s in shapes[:2]), *shapes, image(1, 8, long), image(1, 70, 4), image(1, 130, 3))
    factors = {
        "kernel_size": (1, 3, "mixed"),
        "stride": (1, 2, 3),
        "padding": (1,),
        "ceil_mode": (True,),
        "batch": (1, None),
        **own,
    }
    others = tuple(
        _pool(image(2, 2, cells), kernel_size=k, stride=s, padding=p)
        for cells, k, s, p in itertools.product((5, 8, 10), (1, 2, 3, 4, 5), (1, 2, 3, 4), (0, 1))
        if 2 * p <= k
    )

    def kernel_of(c: Call) -> tuple[int, ...]:
        return _window(c, "kernel_size", rank)

    return Kind(sizes, _pool, factors, {**_windows(rank, kernel_of), **_over_images(rank, kernel_of)}, others)


WEIGHTS = (Drawn("positive", axis=1), Drawn("zeros and negatives", axis=1))
ELEMENTWISE = Kind(SIZES, _alike("x"))
ALONG = {"axes": (1, 2, 3, 4), "axis": (0, 1, 2, -2, -3)}
REDUCTIONS = ("none", "sum")
SCORES = tuple(s for s in SIZES if s not in ((2,), (1,), (4, 1)))
LABELS = Kind(
    SCORES,
    _classes,
    {"axes": (1, 3, 4), "reduction": REDUCTIONS, "weight": WEIGHTS, "ignore_index": (-1, 0)},
)
PAIRED = Kind(SIZES, _alike("input", "target"), {"axes": (1, 3, 4), "reduction": REDUCTIONS})
OWN_AXIS = Drawn("positive", along=(-1,))
KINDS: Mapping[str, Kind] = {
    "relu": ELEMENTWISE,
    "tanh": ELEMENTWISE,
    "gelu": replace(ELEMENTWISE, factors={"axes": (1, 3, 4), "approximate": ("tanh",)}),
    "softplus": replace(ELEMENTWISE, factors={"axes": (1, 3, 4), "beta": (0.5,), "threshold": (20.0,)}),
    "prelu": Kind(SIZES, _prelu, {"axes": (1, 3, 4), "single": (True,)}),
    "glu": Kind(
        tuple((*s[:-1], 2 * s[-1]) for s in SIZES if s[-1] < 1024), _alike("x"), {"axis": (0, 2, -2), "axes": (1, 3, 4)}
    ),
    "softmax": Kind(SCORES, _alike("x"), ALONG),
    "log_softmax": Kind(SCORES, _alike("x"), ALONG),
    "logsumexp": Kind(SCORES, _alike("x"), {**ALONG, "keepdims": (True,)}),
    "linear": Kind(
        tuple(s for s in SIZES if len(s) < 4),
        _linear,
        {"axes": (1, 3), "bias": (False,)},
        others=tuple(_linear((20, n), outputs=m) for n in (1, 20, 72) for m in (1, 8, 20, 72)),
    ),
    "conv1d": _conv_kind(1),
    "conv2d": _conv_kind(2),
    "conv3d": _conv_kind(3),
    "conv_transpose2d": _conv_kind(2, transposed=True),
    "max_pool1d": _pool_kind(1, dilation=(2,)),
    "max_pool2d": _pool_kind(2, dilation=(2,)),
    "avg_pool2d": _pool_kind(2, count_include_pad=(False,), divisor_override=(3,)),
    "cross_entropy": replace(
        LABELS, factors={**LABELS.factors, "target": ("probabilities",), "label_smoothing": (0.1, 1.0)}
    ),
    "nll_loss": LABELS,
    "binary_cross_entropy_with_logits": replace(
        PAIRED, factors={**PAIRED.factors, "weight": (OWN_AXIS,), "pos_weight": (OWN_AXIS,)}
    ),
    "mse_loss": PAIRED,
    "smooth_l1_loss": replace(PAIRED, factors={**PAIRED.factors, "beta": (0.0, 0.25)}),
}
# Ops of which a result is allowed less than 8 ulps.
ROUNDED_ONCE = ("relu", "prelu", "max_pool1d", "max_pool2d")


# --- the probes of an op ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Condition:
    """A condition, and probes among which there is one in which it holds, if it can hold."""

    group: str
    name: str
    holds: Holds
    probes: Sequence[Case]


def _probe(op: Op, variant: Variant, turn: Turn | None = None) -> Case | None:
    if not op.takes(variant):
        return None
    return build(f"probe/{variant.shapes}", op, FLOAT32, "normal", variant, turn or Turn("random"))


def _filled(probe: Case, values: evasions.Values, of_g: bool) -> Case:
    """The probe with these numbers in its first input, or in its cotangent."""
    rng = np.random.default_rng(zlib.crc32(probe.id.encode()))
    if of_g:
        return replace(probe, cotangent=np.asarray(values(rng, probe.cotangent.shape), np.float32))
    first = probe.inputs[0]
    assert first is not None
    return replace(probe, inputs=(np.asarray(values(rng, first.shape), np.float32), *probe.inputs[1:]))


def conditions(op: Op, kind: Kind) -> Iterator[Condition]:
    """All conditions of an op, with their probes."""

    def made(**factors: Any) -> list[Case]:
        found = (_probe(op, kind.make(shape, **factors)) for shape in kind.sizes[:2] + kind.sizes[14:16])
        return [p for p in found if p is not None]

    sized = [p for s in kind.sizes if (p := _probe(op, kind.make(s))) is not None]
    others = [p for v in kind.others if (p := _probe(op, v)) is not None]
    for name, holds in evasions.SIZE.items():
        yield Condition("size", name, holds, [*sized, *others])
    small = [p for p in sized if 32 < p.inputs[0].size < 2000 and p.inputs[0].shape[-1] > 3][:4]  # type: ignore[union-attr]
    small += [p for p in sized if p.inputs[0].ndim == 1 and p.inputs[0].size > 8][-1:]  # type: ignore[union-attr]
    orders = [o for o in LAYOUTS if o != "broadcast"]
    laid = [
        replace(p, layout=a, cotangent_layout=b) for p, a, b in itertools.product([*small, *sized[-3:]], orders, orders)
    ]
    stretched = [_filled(p, lambda rng, s: np.full(s, 0.5), of_g) for p in small for of_g in (False, True)]
    laid += [replace(p, layout="broadcast", cotangent_layout="broadcast") for p in stretched]
    for name, holds in evasions.MEMORY.items():
        yield Condition("memory", name, holds, laid)
    for name, (holds, values) in evasions.VALUE.items():
        yield Condition("value", name, holds, [_filled(p, values, False) for p in small])
    for name, (holds, values) in evasions.COTANGENT.items():
        yield Condition("cotangent", name, lambda c, h=holds: c.g is not None and h(c),  # type: ignore[misc]
                        [_filled(p, values, True) for p in small])  # fmt: skip
    for name, holds in kind.extra.items():
        yield Condition("parameter", name, holds, [*others, *sized])
    has = {(n, v): _has(op, kind, n, v) for n, values in kind.factors.items() for v in values}
    for (name, value), holds in has.items():
        yield Condition("parameter", _shown(name, value), holds, made(**{name: value}))
    for ((a, v), one), ((b, w), other) in itertools.combinations(has.items(), 2):
        if a != b:
            both = f"{_shown(a, v)} with {_shown(b, w)}"
            yield Condition("parameter pair", both, _both(one, other), made(**{a: v, b: w}))


def _both(one: Holds, other: Holds) -> Holds:
    return lambda c: one(c) and other(c)


# --- what can show ---------------------------------------------------------------------------------------------------


class Right:
    """The results of refnn's own kernel, each computed once."""

    def __init__(self, op: Op) -> None:
        self.op = op
        self._known: dict[Any, Results] = {}

    def __call__(self, g: Array | None, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> Results:
        arrays = (*inputs, g, *params.values())
        key = tuple((a.shape, hash(a.tobytes())) if isinstance(a, np.ndarray) else str(a) for a in arrays)
        if key not in self._known:
            self._known[key] = [self.op(*inputs, **params)] if g is None else [*self.op.vjp(g, *inputs, **params)]
        return self._known[key]

    def of(self, case: Case) -> Results:
        """Output and gradients of a case."""
        results = call(lambda *a, **p: self(None, a, p)[0], lambda g, *a, **p: tuple(self(g, a, p)), case)
        return results[0]


def meets(holds: Holds, probes: Sequence[Case], right: Right) -> Iterator[tuple[bool, Case]]:
    """The probes in which a condition holds for the vjp (True) or for the forward (False)."""
    for probe in probes:
        met: set[bool] = set()

        def note(memory: Any, c: Call, met: set[bool] = met) -> Results:
            if holds(c):
                met.add(c.g is not None)
            return c.results

        call(*Evasion("", "", "", "", note).kernel(right), probe)
        yield from ((of_vjp, probe) for of_vjp in met)


def visible(e: Evasion, probe: Case, right: Right) -> bool:
    """Whether a probe shows the evasion, by more than rounding does."""
    got, complaints, _ = call(*e.kernel(right), probe)
    assert not complaints, complaints
    for which, (mine, true) in enumerate(zip(got, right.of(probe), strict=True)):
        if mine is not None and true is not None:
            least = VISIBLE**2 * np.abs(probe.cotangent).max() if which else 0  # a gradient may be rounding alone
            off = np.abs(mine - true)
            wrong = off > 0 if e.effect == TIGHT else off > np.maximum(VISIBLE * np.abs(true), least)
            if np.any(wrong & np.isfinite(true)):
                return True
    return False


def generate(name: str) -> Iterator[Evasion]:
    """The evasions of an op: each condition with an effect that shows in a probe. The effects take turns."""
    op, kind = OPS[name], KINDS[name]
    right, effects = Right(op), [(k, apply) for k, apply in EFFECTS.items() if k[1] != TIGHT or name in ROUNDED_ONCE]
    for number, condition in enumerate(conditions(op, kind)):
        found = list(itertools.islice(meets(condition.holds, condition.probes, right), TRIED))
        turn = number % len(effects)
        for (of_vjp, effect), apply in effects[turn:] + effects[:turn]:
            e = Evasion(name, condition.group, condition.name, effect, under(condition.holds, of_vjp, apply))
            if any(half == of_vjp and visible(e, probe, right) for half, probe in found):
                yield e
                break
    for condition_name, (effect, act) in CALLS.items():  # each is wrong for some calls in a row
        yield Evasion(name, "call number", condition_name, effect, act)
