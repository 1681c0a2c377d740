"""What the pools share: where their windows lie, for any number of spatial axes, and the two ways to pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf, nan
from typing import Any

from refnn.arithmetic import Convention
from refnn.arithmetic.windows import Windows, per_axis
from refnn.op import Special, Variant
from refnn.variants import pairwise

Array = Any


def windows(
    shape: tuple[int, ...],
    rank: int,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Windows:
    """The windows over the last `rank` axes, side by side unless a stride is given."""
    kernel = per_axis(kernel_size, rank)
    steps = kernel if stride is None else stride
    return Windows.over(shape[-rank:], kernel, stride=steps, padding=padding, dilation=dilation, ceil_mode=ceil_mode)


def planes(x: Array, w: Windows) -> Array:
    """Batch and channels as one axis: no window reaches from one to another."""
    return x.reshape(-1, *w.size)


def inside(w: Windows) -> Any:
    """Which cells of the windows are no padding, to go with `ar.windows(planes(x))`."""
    return w.inside[:, None]


def among(w: Windows) -> Any:
    """Who takes part in a maximum: those cells, or None where that is all."""
    return None if w.inside.all() else inside(w)


def maximum(ar, x, w):
    taps = ar.windows(planes(x, w), w)
    return ar.max(taps, 0, among(w)).reshape(*x.shape[: -w.rank], *w.count)


def maximum_vjp(ar, g, x, w):
    taps = ar.windows(planes(x, w), w)
    parts = ar.route(g.reshape(-1, *w.count), taps, 0, among(w))
    return ar.fold(parts, w).reshape(*x.shape)


def divisors(w: Windows, count_include_pad: bool, divisor_override: int | None = None) -> Any:
    """What each window's sum is divided by: one integer, or an array of them over the windows.

    Cells of the window in the input, those in the padding too if it counts; what lies beyond the padding never does.
    """
    if divisor_override is not None:
        return divisor_override
    reach = Windows(
        tuple(n + 2 * p for n, p in zip(w.size, w.before, strict=True)),
        w.kernel,
        w.stride,
        w.dilation,
        (0,) * w.rank,
        w.count,
    )
    counts = (reach if count_include_pad else w).inside.sum(0)
    return int(counts.flat[0]) if (counts == counts.flat[0]).all() else counts


def average(ar, x, w, over):
    taps, over = ar.windows(planes(x, w), w), _lifted(ar, over)
    mean = ar.either(
        lambda: ar.product(ar.sum(taps, 0), over=over),
        lambda: ar.sum(ar.product(taps, over=over), 0),
    )
    return mean.reshape(*x.shape[: -w.rank], *w.count)


def average_vjp(ar, g, x, w, over):
    g, divisor = g.reshape(-1, *w.count), _lifted(ar, over)

    def folded(each):
        return ar.fold(ar.where(inside(w), each, 0), w)

    def divided():
        return folded(ar.saved(ar.product(g, over=divisor)))

    if not isinstance(over, int):
        return divided().reshape(*x.shape)
    return ar.either(divided, lambda: ar.product(folded(g), over=divisor)).reshape(*x.shape)


def _lifted(ar, over):
    return over if isinstance(over, int) else ar.real(over)


# --- what is refused -------------------------------------------------------------------------------------------------


def validate(op: str, rank: int) -> Any:
    """The rules for the input and the parameters of a pool over `rank` spatial axes."""

    def check(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
        shape = inputs["x"].shape
        if len(shape) not in (rank + 1, rank + 2) or 0 in shape[-rank - 1 :]:
            axes = "(N, C, length)" if rank == 1 else f"(N, C, {', '.join(('depth', 'height', 'width')[-rank:])})"
            raise ValueError(f"{op}: x has shape {shape}, expected {axes}, or without N, and no axis but N empty")
        for name, least in (("kernel_size", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            value = params.get(name, 1)
            if value is None and name == "stride":
                continue
            each = (value,) if isinstance(value, int) else value
            wrong = not isinstance(each, (tuple, list)) or not all(type(v) is int and v >= least for v in each)
            if wrong or len(each) not in (1, rank) or (len(each) != rank and not isinstance(value, int)):
                wanted = "an integer" if rank == 1 else f"an integer or {rank} of them"
                raise ValueError(f"{op}: {name} is {value!r}, expected {wanted}, at least {least}")
        kernel, padding = per_axis(params["kernel_size"], rank), per_axis(params["padding"], rank)
        if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
            half = f"half of kernel_size {params['kernel_size']!r}"
            raise ValueError(f"{op}: padding is {params['padding']!r}, expected at most {half}")
        divisor = params.get("divisor_override")
        if divisor is not None and (type(divisor) is not int or divisor == 0):
            raise ValueError(f"{op}: divisor_override is {divisor!r}, expected an integer other than 0, or None")
        placing = {name: params[name] for name in PLACING if name in params}
        if min(windows(shape, rank, **placing).count) < 1:
            raise ValueError(
                f"{op}: no window fits: x has shape {shape} with padding {params['padding']!r}, kernel_size is "
                f"{params['kernel_size']!r} with dilation {params.get('dilation', 1)!r}"
            )

    return check


PLACING = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")


# --- what the records share ------------------------------------------------------------------------------------------

TIES: Mapping[str, Convention] = {"tie=first": "first", "tie=last": "last", "tie=split": "split"}


def each_row(rank: int) -> Callable[[int, Mapping[str, Any]], bool]:
    """Samples, or channels, do not touch each other; the last `rank` axes are those of the windows."""
    return lambda ndim, params: ndim > rank


def variant(shape: tuple[int, ...], small: tuple[int, ...] | None = None, **params: Any) -> Variant:
    return Variant({"x": shape}, params, small={"x": small or shape})


# Along each spatial axis: even cells, and so many that threads share them.
SIDES = {1: (16, 4128), 2: (8, 66), 3: (4, 17)}


def usual(rank: int) -> Any:
    """The pools of LeNet, VGG and ResNet, the mean over an image, and every two parameters."""

    def variants(op: Any) -> Any:
        side, large = SIDES[rank]
        own = {n: v for n, v in OWN.items() if n in op.defaults}
        layers: tuple[tuple[int, dict[str, Any]], ...] = (
            (side, {"kernel_size": 2, "stride": 2}),
            (side, {"kernel_size": 3, "stride": 2, "padding": 1}),
            (side, {"kernel_size": 3, "stride": 1, "padding": 1}),
            (5, {"kernel_size": 5}),
            (5, {"kernel_size": 2}),
            (large, {"kernel_size": 2}),
        )
        for cells, params in layers:
            yield variant((2 if cells < large else 1, 8, *(cells,) * rank), **params)
        yield variant((4, 144 if rank < 3 else 80, *(2,) * rank), kernel_size=2)
        yield variant((2, 3, *(7,) * rank), kernel_size=2, stride=3)  # two rows are left over
        factors = {
            "kernel_size": (2, 3, 1, (3, 1, 2)[:rank]),
            "stride": (None, 1, 2, 3),
            "padding": (0, 1),
            "ceil_mode": (False, True),
            **own,
            "batch": (2, 1, None),
        }
        yield from pairwise(op, factors, lambda **values: _factored(rank, **values))

    return variants


def _factored(rank: int, batch: int | None, **params: Any) -> Variant:
    """A variant of two channels; the small one has one."""
    lead, image = (() if batch is None else (batch,)), (5, 4, 4) if rank == 3 else (8, 7)
    return variant((*lead, 2, *image[:rank]), (*(1,) * (len(lead) + 1), *(4, 3, 3)[:rank]), **params)


OWN = {"dilation": (1, 2), "count_include_pad": (True, False), "divisor_override": (None, 3)}  # of some pools alone


# Tables of special values over one axis, for `special`.
_TIED = (1, 0, 0.5)
_CEILED = {"padding": 1, "ceil_mode": True}
MAXIMA = (
    Special(([1.0, nan, 2.0, 3.0],), [nan, 3], ([0, None, 0, 1],), "NaN wins its window, and no other"),
    Special(([inf, 1.0, -inf, 2.0],), [inf, 2], ([1, 0, 0, 1],), "infinities are ordered like numbers"),
    Special(([-inf, -inf, -inf],), [-inf, -inf], ([1, _TIED, _TIED],), "padding never wins a tie", _CEILED),
    Special(([-inf, -1.0, -2.0],), [-inf, -1], ([1, 1, 0],), "padding never wins, as zeros would", _CEILED),
    Special(
        ([1.0, 2.0, 3.0, 4.0],),
        [-inf],
        ([0, 0, 0, 0],),
        "a window wholly in the padding: the maximum of nothing, and its gradient goes nowhere",
        {"stride": 1, "padding": 1, "dilation": 5},
    ),
    Special(
        ([1.0, 2.0, -1.0, -2.0],),
        [2, -1],
        ([(0, nan), nan, nan, (0, nan)],),
        "NaN in the cotangent is handed on to the maximum; elsewhere nothing, or 0 times NaN",
        cotangent=nan,
    ),
)
MEANS = (
    Special(([1.0, nan, 2.0, 3.0],), [nan, 2.5], ([0.5, None, 0.5, 0.5],), "NaN in gives NaN out, in its window only"),
    Special(([inf, 1.0, inf, -inf],), [inf, nan], (0.5,), "infinity, and infinity minus infinity; a linear map"),
    Special(([1.0, 2.0, 3.0],), [1.5, 3], (inf,), "an infinite cotangent", {"ceil_mode": True}, cotangent=inf),
)


def special(rank: int, rows: tuple[Special, ...]) -> tuple[Special, ...]:
    """A table of windows of two cells along the last axis, the others of length one; no batch, one channel."""

    def nested(values: Any) -> Any:
        for _ in range(rank if isinstance(values, list) else 0):
            values = [values]
        return values

    def placed(name: str, value: Any) -> Any:
        whole = rank == 1 or isinstance(value, bool)
        return value if whole else ((0 if name == "padding" else 1),) * (rank - 1) + (value,)

    def row(r: Special) -> Special:
        params = {n: placed(n, v) for n, v in {"kernel_size": 2, **r.params}.items()}
        return Special((nested(r.inputs[0]),), nested(r.output), (nested(r.grads[0]),), r.why, params, r.cotangent)

    return tuple(map(row, rows))
