"""Sizes, receptive fields and counts: what a layer is like, before it computes anything.

Along an axis of L cells, with a cells of padding before and b after it, windows of k cells, stride s and dilation d:

    outputs          Q = floor((L + a + b - d (k - 1) - 1) / s) + 1    katsaros (output size), cnnmath (layer size)
    cells unused     L + a + b - (s (Q - 1) + d (k - 1) + 1)           at the far end, where no window reaches
    receptive field  r' = r + d (k - 1) j,  j' = s j                   katsaros (receptive field), j the jump

The sources call padding valid (none), half (here "same": the size stays), full (one cell of a window stays inside), or
give its number of cells. They divide without a floor, which is right where no cell is unused. The windows themselves
are `refnn.arithmetic.windows.Windows`, which the ops slide; `windows_over` there lists those that lie over a cell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from refnn.arithmetic.windows import Windows, sides
from refnn.formats import FORMATS
from refnn.networks.network import Network, Node
from refnn.ops import _conv, _pool, find
from refnn.ops._shared import axes_of
from refnn.refusals import check_choice

# --- sizes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """One axis of a layer of windows, in cells: `output`, the padding `before` and `after` the input, and how many
    cells of the padded input are `unused` at its far end."""

    output: int
    before: int
    after: int
    unused: int


def size(
    length: int, kernel: int, *, stride: int = 1, padding: Any = 0, dilation: int = 1, ceil_mode: bool = False
) -> Size:
    """The size of a convolution or pooling over one axis of `length` cells.

    `padding` is a number of cells for both sides, a pair (before, after), or "valid", "same", "full". With `ceil_mode`
    a rest gets a window of its own, which overhangs. ValueError, in one sentence, for what has no meaning.
    """
    _check("size", length=length, kernel=kernel, stride=stride, dilation=dilation)
    if padding == "same" and stride != 1:
        raise ValueError(f"size: stride is {stride}, expected 1 with padding 'same'")
    before, after = _padding("size", padding, kernel, dilation)
    reach, padded = dilation * (kernel - 1) + 1, before + length + after
    pads = ((before, after),)
    w = Windows.over((length,), (kernel,), stride=stride, padding=pads, dilation=dilation, ceil_mode=ceil_mode)
    if w.count[0] < 1:
        raise ValueError(f"size: the kernel covers {reach} cells, expected at most {padded}, the axis with its padding")
    return Size(w.count[0], before, after, max(0, padded - (w.count[0] - 1) * stride - reach))


def transposed_size(
    length: int, kernel: int, *, stride: int = 1, padding: Any = 0, output_padding: int = 0, dilation: int = 1
) -> int:
    """The cells that a transposed convolution makes of `length`.

    There are `stride` sizes of which `size` makes `length`, and `output_padding`, from 0, says which; PyTorch lets it
    reach up to the dilation, where that is more. ValueError, in one sentence, for what has no meaning.
    """
    _check("transposed_size", length=length, kernel=kernel, stride=stride, dilation=dilation)
    if type(output_padding) is not int or not 0 <= output_padding < max(stride, dilation):
        raise ValueError(
            f"transposed_size: output_padding is {output_padding!r}, expected an integer from 0, less than stride "
            f"{stride} or dilation {dilation}"
        )
    pads = (_padding("transposed_size", padding, kernel, dilation),)
    w = Windows.into(
        (length,), (kernel,), stride=stride, padding=pads, dilation=dilation, output_padding=output_padding
    )
    if w.size[0] < 1:
        raise ValueError(f"transposed_size: the output would have {w.size[0]} cells, expected at least 1")
    return w.size[0]


def _padding(function: str, padding: Any, kernel: int, dilation: int) -> tuple[int, int]:
    """The padding before and after one axis."""
    if isinstance(padding, str):
        check_choice(function, "padding", padding, _conv.PADDINGS)
    else:
        padding = (tuple(padding),) if isinstance(padding, (tuple, list)) else padding
        _conv.check_padding(function, padding, 1)
    return sides(padding, (kernel,), (dilation,))[0]


def _check(function: str, **numbers: Any) -> None:
    for name, value in numbers.items():
        if type(value) is not int or value < 1:
            raise ValueError(f"{function}: {name} is {value!r}, expected an integer of at least 1")


def square_patches(image: np.ndarray, side: int | None = None, *, stride: int | None = None) -> np.ndarray:
    """The square patches of images (..., height, width), as (rows, columns, ..., side, side): a view.

    By default they are as large as fits and lie side by side, as katsaros (typical settings) makes square images of
    others. ValueError if none fits.
    """
    if image.ndim < 2:
        raise ValueError(f"square_patches: image has shape {image.shape}, expected (..., height, width)")
    height, width = image.shape[-2:]
    side = min(height, width) if side is None else side
    stride = side if stride is None else stride
    for length in (height, width):
        size(length, side, stride=stride)
    cells = np.lib.stride_tricks.sliding_window_view(image, (side, side), (-2, -1))[..., ::stride, ::stride, :, :]
    return np.moveaxis(cells, (-4, -3), (0, 1))


# --- coverage --------------------------------------------------------------------------------------------------------


def coverage(w: Windows) -> np.ndarray:
    """How many windows lie over each cell of the input: the links of a node to a map of the next layer.

    cnnmath (bounds check): one at a corner; katsaros (valid padding): the border counts less than the centre.
    """
    return w.fold(np.ones((w.taps, *w.count), dtype=np.int64))


# --- receptive fields ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """What the values of a layer see along an axis of the input: value q sees `size` cells, from start + jump q on.

    `start` is negative where the first field begins in the padding.
    """

    size: int = 1
    jump: int = 1
    start: int = 0

    def through(self, kernel: int, *, stride: int = 1, before: int = 0, dilation: int = 1) -> Field:
        """The field after one more layer of windows."""
        reach = dilation * (kernel - 1)
        return Field(self.size + reach * self.jump, self.jump * stride, self.start - before * self.jump)

    def together(self, count: int) -> Field:
        """That of a value that sees all `count` values of this layer; there is no next one to jump to."""
        return Field(self.size + (count - 1) * self.jump, 0, self.start)


def fields(net: Network, shapes: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, tuple[Field, ...]]:
    """The receptive field of each node in the first input of a network, along the axes after its channels.

    The shapes are those that `layers` takes. A transposed convolution and what follows it are left out: their values
    see differently many cells, so that there is no one size.
    """
    return _fields(net, _values(net, shapes))


def _fields(net: Network, values: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[Field, ...]]:
    first = net.inputs[0]
    found = {first: tuple(Field() for _ in values[first][2:])}
    for node in net.nodes:
        source = next((n for n in node.inputs if n in found), None)
        if source is not None and not node.catalogued.startswith("conv_transpose"):
            found[node.name] = _seen(node, found[source], values[source], _windows(node, values))
    return {node.name: found[node.name] for node in net.nodes if node.name in found}


def _seen(node: Node, fields: tuple[Field, ...], shape: tuple[int, ...], w: Windows | None) -> tuple[Field, ...]:
    """The fields of a node, from those of its input of some shape."""
    if w is not None:
        slides = zip(w.kernel, w.stride, w.before, w.dilation, strict=True)
        return tuple(
            f.through(k, stride=s, before=a, dilation=d) for f, (k, s, a, d) in zip(fields, slides, strict=True)
        )
    if len(shape) != len(fields) + 2:
        return fields  # no spatial axis is left
    mixed = _mixed(node, len(shape))
    return tuple(f.together(shape[n]) if n in mixed else f for n, f in enumerate(fields, 2))


def _mixed(node: Node, ndim: int) -> set[int]:
    """The axes along which an op without windows lets values see each other."""
    params = {**find(node.op).defaults, **node.params}
    if "axis" in params:
        return {*axes_of(ndim, params["axis"])}
    if "normalized_shape" in params:
        return set(range(ndim - len(params["normalized_shape"]), ndim))
    if node.catalogued in ("linear", "matmul"):
        return {ndim - 1}
    if node.catalogued == "flatten":
        return set(range(params["start"] % ndim, ndim))
    alone = params.get("reduction", "none") == "none" and node.catalogued not in ("half_squared_error", "l2_penalty")
    return set() if alone else set(range(ndim))


def _windows(node: Node, values: Mapping[str, tuple[int, ...]]) -> Windows | None:
    """The windows that an op slides over its input."""
    params = {**find(node.op).defaults, **node.params}
    shape = values[node.inputs[0]]
    if "kernel_size" in params:
        return _pool.windows(shape, int(node.catalogued[-2]), **{n: params[n] for n in _pool.PLACING if n in params})
    if node.catalogued == "locally_connected2d":
        return Windows.over(shape[-2:], values[node.inputs[1]][4:], stride=params["stride"])
    if not node.catalogued.startswith("conv"):
        return None
    kernel = values[node.inputs[1]][2:]
    lay = Windows.into if "output_padding" in params else Windows.over
    return lay(shape[-len(kernel) :], kernel, **{n: v for n, v in params.items() if n != "groups"})


# --- counts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """The counts of a node; `output` is the shape of its output for one sample.

    `links` is the number of products of a weight and an input value in the output, without those of the padding.
    `fields` are its receptive fields (see `fields`), or empty.
    """

    name: str
    op: str
    output: tuple[int, ...]
    weights: int
    biases: int
    links: int
    fields: tuple[Field, ...]

    @property
    def activations(self) -> int:
        """The values of one sample."""
        return math.prod(self.output)

    @property
    def sharing(self) -> Fraction:
        """How often a weight is used, on average: cnnmath (parameters), height times width of a map if unpadded."""
        return Fraction(self.links, self.weights or 1)


def layers(net: Network, shapes: Mapping[str, tuple[int, ...]] | None = None) -> list[Layer]:
    """The counts of each node.

    `shapes` has the shapes of inputs, without the batch axis, and of parameters. Those that it lacks are taken from the
    network's own `shapes` and weights. No array of these shapes is made, so networks of any size can be counted.
    """
    values = _values(net, shapes)
    seen = _fields(net, values)

    def count(node: Node, *slots: str) -> int:
        return sum(math.prod(values[p]) for p in node.inputs if p in net.parameters and _slot(p) in slots)

    return [
        Layer(
            n.name,
            n.catalogued,
            values[n.name][1:],
            count(n, "weight"),
            count(n, "bias"),
            _links(n, values) if f"{n.name}.weight" in net.parameters else 0,
            seen.get(n.name, ()),
        )
        for n in net.nodes
    ]


def _slot(parameter: str) -> str:
    return parameter.rpartition(".")[2]


def _values(net: Network, shapes: Mapping[str, tuple[int, ...]] | None) -> dict[str, tuple[int, ...]]:
    """The shape of every value for one sample."""
    own = next(iter(net.weights.values()), {})
    given = {**net.shapes, **{p: np.shape(v) for p, v in own.items()}, **(shapes or {})}
    if missing := [n for n in (*net.inputs, *net.parameters) if n not in given]:
        raise ValueError(f"{net.name}: the shape of {missing[0]!r} is missing, got {', '.join(given) or 'none'}")
    return net.infer({**{n: (1, *given[n]) for n in net.inputs}, **{p: given[p] for p in net.parameters}})


def _links(node: Node, values: Mapping[str, tuple[int, ...]]) -> int:
    weight, output = math.prod(values[node.inputs[1]]), math.prod(values[node.name])
    w = _windows(node, values)
    if w is not None:
        own = node.catalogued == "locally_connected2d"  # each weight is used once
        return weight if own else weight // w.taps * int(w.inside.sum())
    return output // values[node.name][-1] * weight if node.catalogued == "linear" else output


def held(net: Network, shapes: Mapping[str, tuple[int, ...]] | None = None, *, training: bool = True) -> int:
    """How many activations of one sample are held at once, inputs included.

    katsaros (fully connected layers): training keeps all of them for the backward pass, so that they are multiplied by
    the mini-batch, as in Case 1 of challa2023. Evaluation drops a value after its last use.
    """
    values = _values(net, shapes)
    sizes = {n: math.prod(values[n]) for n in (*net.inputs, *(node.name for node in net.nodes))}
    if training:
        return sum(sizes.values())
    last = {n: step for step, node in enumerate(net.nodes) for n in (*node.inputs, node.name) if n in sizes}
    made = {**dict.fromkeys(net.inputs, 0), **{node.name: step for step, node in enumerate(net.nodes)}}
    return max(
        sum(sizes[n] for n in sizes if made[n] <= step <= last.get(n, made[n])) for step in range(len(net.nodes))
    )


def table(rows: Sequence[Layer], *, batch: int = 1, dtype: str = "float32") -> str:
    """The account as lines of text, with the activations of a mini-batch and the bytes that they and the parameters
    take."""
    check_choice("table", "dtype", dtype, tuple(FORMATS))
    width = np.dtype(FORMATS[dtype].dtype).itemsize
    head = ("layer", "op", "output", "weights", "biases", "links", "field", f"activations x {batch}", "bytes")
    lines: list[tuple[str, ...]] = [head]
    for row in rows:
        many = row.activations * batch
        stored = (many + row.weights + row.biases) * width
        size, field = (" x ".join(map(str, v)) for v in (row.output, [f.size for f in row.fields]))
        counts = (row.weights, row.biases, row.links)
        lines.append((row.name, row.op, size, *(f"{n:,}" for n in counts), field, f"{many:,}", f"{stored:,}"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = (0, 1, 2, 6)  # words and sizes; the others are numbers
    return "\n".join(
        "  ".join(c.ljust(n) if i in left else c.rjust(n) for i, (c, n) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )
