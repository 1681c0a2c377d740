"""Sizes, fields and counts, each against counting; and the shapes of every op, with nothing computed."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
import re
import tracemalloc
from typing import Any

import numpy as np
import pytest

import refnn
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.shapes import Shapes, zeros
from refnn.arithmetic.windows import Windows, per_axis, windows_over
from refnn.judging.cases import cases
from refnn.judging.families import inside
from refnn.networks.account import (
    Field,
    Size,
    coverage,
    fields,
    held,
    layers,
    size,
    square_patches,
    table,
    transposed_size,
)
from refnn.networks.network import Network, Node
from refnn.op import Op, lift
from refnn.variants import alone

# --- the arithmetic of shapes ----------------------------------------------------------------------------------------


def outlines(op: Op, algorithm: str, case: Any) -> tuple[Any, list[Any]]:
    """The shapes of the output and of the gradients, from shapes alone."""
    forward, vjp = op.algorithm(algorithm)
    ar = Shapes()
    arrays = lift(ar, [x if x is None or x.dtype.kind in "iu" else zeros(x.shape) for x in case.inputs])
    with np.errstate(all="ignore"):
        y = forward(ar, *arrays, **case.params)
        grads = vjp(ar, zeros(y.shape), zeros(y.shape), *arrays, **case.params)
    return y.shape, [None if g is None else g.shape for g in grads]


@pytest.mark.parametrize("name", refnn.ops)
def test_shapes_are_those_of_the_results_and_gradients_have_those_of_the_inputs(name: str) -> None:
    op = refnn.ops[name]
    for case in cases(op, "float32", families=["normal"]):
        for algorithm in ("accurate", *op.algorithms):
            y, grads = outlines(op, algorithm, case)
            assert y == np.shape(op(*case.inputs, **case.params)), case.id
            for x, declared, g in zip(case.inputs, op.inputs.values(), grads, strict=True):
                assert g is None or g == x.shape, case.id
                assert (g is None) == (x is None or x.dtype.kind in "iu" or not declared.differentiable), case.id


def test_a_gradient_of_another_shape_is_seen() -> None:
    op = refnn.ops["linear"]
    case = next(iter(cases(op, "float32", families=["normal"])))

    def transposed(ar: Any, g: Any, y: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        return ar.dot(g, weight), ar.dot(x.T, g), None

    _, (_, gw, _) = outlines(dataclasses.replace(op, vjp_definition=transposed), "accurate", case)
    assert gw == case.inputs[1].shape[::-1] != case.inputs[1].shape


def test_arrays_that_have_no_product_are_refused() -> None:
    with pytest.raises(ValueError, match=r"arrays of shapes \(2, 3\) and \(4, 5\) have no product"):
        Shapes().dot(zeros((2, 3)), zeros((4, 5)))


def test_shapes_need_no_memory() -> None:
    """katsaros: two layers of 4096 behind a last map of 512 by 7 by 7, as they are in full size."""
    net = Network(
        [
            Node("flatten", "flatten", ("x",)),
            Node("fc6", "linear", ("flatten", "fc6.weight", "fc6.bias")),
            Node("fc7", "linear", ("fc6", "fc7.weight", "fc7.bias")),
        ]
    )
    given = {
        "x": (1, 512, 7, 7),
        **{"fc6.weight": (4096, 25088), "fc6.bias": (4096,), "fc7.weight": (4096, 4096), "fc7.bias": (4096,)},
    }
    tracemalloc.start()
    found = net.infer(given)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == {**given, "flatten": (1, 25088), "fc6": (1, 4096), "fc7": (1, 4096)}
    assert peak < 4096 * 4096 / 16  # a hundredth of the smaller weight in float32 would be more


# --- sizes, against positions that are tried one by one --------------------------------------------------------------


def placed(n: int, k: int, stride: int, dilation: int, before: int, after: int, ceil_mode: bool) -> tuple[int, int]:
    """Windows put down one after the other until the next one sticks out, and the cells behind the last of them. With
    `ceil_mode` one may stick out by less than a stride, if cells are left and it starts on the input or before it."""
    padded, starts, end = before + n + after, 0, 0
    for start in range(0, padded, stride):
        last = max(start + t * dilation for t in range(k))
        if last >= padded and not (ceil_mode and end < padded and start < before + n and last - padded < stride - 1):
            break
        starts, end = starts + 1, last + 1
    return starts, max(0, padded - end)


PADDINGS: list[tuple[Any, Any]] = [
    (0, lambda reach: (0, 0)),
    (2, lambda reach: (2, 2)),
    ((1, 3), lambda reach: (1, 3)),
    ("valid", lambda reach: (0, 0)),
    ("same", lambda reach: ((reach - 1) // 2, reach // 2)),
    ("full", lambda reach: (reach - 1, reach - 1)),
]


@pytest.mark.system("S58", "S59", "S61")
def test_sizes_are_those_of_windows_that_are_put_down_one_by_one() -> None:
    seen = refused = 0
    for n, k, s, d in itertools.product(range(1, 9), range(1, 6), (1, 2, 3), (1, 2, 3)):
        for padding, pads in PADDINGS:
            for ceil_mode in (False, True):
                if padding == "same" and s > 1:
                    continue
                before, after = pads(d * (k - 1) + 1)
                output, unused = placed(n, k, s, d, before, after, ceil_mode)
                if not output:
                    refused += 1
                    with pytest.raises(ValueError, match="the kernel covers"):
                        size(n, k, stride=s, padding=padding, dilation=d, ceil_mode=ceil_mode)
                    continue
                seen += 1
                found = size(n, k, stride=s, padding=padding, dilation=d, ceil_mode=ceil_mode)
                assert found == Size(output, before, after, unused), (n, k, s, d, padding, ceil_mode)
                if padding == "same":
                    assert output == n
    assert seen > 2000 and refused > 200


@pytest.mark.system("S49", "S58")
def test_the_sizes_of_the_lecture() -> None:
    """katsaros: half padding 7 to 11 to 7, full padding 7 to 15 to 11; without padding the layer shrinks. cnnmath: pad
    with zeros, or let each layer be smaller."""
    for padding, cells, output in (("same", 11, 7), ("full", 15, 11), ("valid", 7, 3)):
        found = size(7, 5, padding=padding)
        assert (found.before + 7 + found.after, found.output) == (cells, output)
    image, kernel = np.ones((1, 1, 7, 7)), np.ones((1, 1, 5, 5))
    for padding in ("same", "full", "valid"):
        assert refnn.conv2d(image, kernel, padding=padding).shape[2:] == (size(7, 5, padding=padding).output,) * 2
    # An even filter needs sides that are unequal: of 7 cells and a filter of 4, 1 before and 2 after.
    assert size(7, 4, padding="same") == Size(7, 1, 2, 0)
    assert [size(7, 4, padding=p).output for p in (1, 2)] == [6, 8]
    # cnnmath: kernels of 9, 1 and 5 take 33 to 21; padded, every layer keeps 33.
    lengths = {"valid": 33, "same": 33}
    for kernel_size in (9, 1, 5):
        lengths = {p: size(n, kernel_size, padding=p).output for p, n in lengths.items()}
    assert lengths == {"valid": 21, "same": 33}


@pytest.mark.system("S59")
def test_strides_that_do_not_divide_leave_a_border_unused() -> None:
    """katsaros (strides), the figures "padding, strides" and "padding, strides (odd)": both give 3, the second leaves
    out the last column of the padding. Cells of the image itself may stay unused, too."""
    assert size(5, 3, stride=2, padding=1) == Size(3, 1, 1, 0)
    assert size(6, 3, stride=2, padding=1) == Size(3, 1, 1, 1)
    assert size(6, 3, stride=2) == Size(2, 0, 0, 1)
    assert size(6, 3, stride=2, ceil_mode=True).output == 3
    unread = coverage(Windows.over((6,), (3,), stride=2)) == 0
    assert unread.tolist() == [False] * 5 + [True]
    # Several lengths share one size, so that the way back is ambiguous.
    assert {n for n in range(1, 12) if n >= 3 and size(n, 3, stride=2).output == 3} == {7, 8}
    assert {transposed_size(3, 3, stride=2, output_padding=e) for e in (0, 1)} == {7, 8}


def test_transposed_sizes_are_those_that_a_convolution_takes_back() -> None:
    for n, k, s, d, p in itertools.product(range(1, 6), range(1, 5), (1, 2, 3), (1, 2), (0, 1, (0, 2))):
        lengths = {m for m in range(1, 40) if placed(m, k, s, d, *((p, p) if isinstance(p, int) else p), False)[0] == n}
        made = set()
        for e in range(s):
            with contextlib.suppress(ValueError):  # no cell is left
                made.add(transposed_size(n, k, stride=s, padding=p, output_padding=e, dilation=d))
        assert made == lengths, (n, k, s, d, p)
    x, weight = np.ones((1, 1, 3)), np.ones((1, 1, 2))
    for e in (0, 1, 2):  # beyond the stride, as the op takes it
        found = transposed_size(3, 2, dilation=3, output_padding=e)
        assert refnn.conv_transpose1d(x, weight, dilation=3, output_padding=e).shape == (1, 1, found)


REFUSED: list[tuple[Any, str]] = [
    (lambda: size(0, 3), "size: length is 0, expected an integer of at least 1"),
    (lambda: size(5, 2.0), "size: kernel is 2.0, expected an integer of at least 1"),
    (lambda: size(5, 3, stride=0), "size: stride is 0, expected an integer of at least 1"),
    (lambda: size(5, 3, dilation=True), "size: dilation is True, expected an integer of at least 1"),
    (lambda: size(5, 3, padding="half"), "size: padding is 'half', expected one of 'valid', 'same', 'full'"),
    (lambda: size(5, 3, padding=-1), "size: padding is -1, expected an integer of at least 0"),
    (lambda: size(5, 3, padding=(1, 2, 3)), "expected an integer of at least 0"),
    (lambda: size(5, 3, padding="same", stride=2), "size: stride is 2, expected 1 with padding 'same'"),
    (lambda: size(5, 3, dilation=3), "size: the kernel covers 7 cells, expected at most 5, the axis with its padding"),
    (
        lambda: transposed_size(3, 3, stride=2, output_padding=2),
        "output_padding is 2, expected an integer from 0, less",
    ),
    (lambda: transposed_size(1, 3, padding=2), "transposed_size: the output would have -1 cells, expected at least 1"),
    (lambda: transposed_size(3, 0), "transposed_size: kernel is 0, expected an integer of at least 1"),
    (lambda: square_patches(np.zeros(4)), "square_patches: image has shape (4,), expected (..., height, width)"),
    (lambda: square_patches(np.zeros((4, 6)), 5), "size: the kernel covers 5 cells, expected at most 4, the axis"),
]


@pytest.mark.parametrize(("call", "sentence"), REFUSED, ids=range(len(REFUSED)))
def test_what_has_no_size_gets_one_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.system("S76")
def test_square_patches_of_an_image_that_is_not_square() -> None:
    """katsaros (typical settings). As many as fit along each side, each cell where it was, the rest left out."""
    image = np.arange(2 * 5 * 13).reshape(2, 5, 13)
    for side, stride in ((None, None), (3, None), (3, 1), (2, 3), (5, 4)):
        patches = square_patches(image, side, stride=stride)
        k, s = side or 5, stride or side or 5
        corners = [(i, j) for i in range(0, 5, s) for j in range(0, 13, s) if i + k <= 5 and j + k <= 13]
        assert patches.shape[:2] == (len({i for i, _ in corners}), len({j for _, j in corners}))
        assert patches.shape[2:] == (2, k, k)
        rows = patches.reshape(-1, 2, k, k)
        for patch, (i, j) in zip(rows, corners, strict=True):
            assert all(patch[c, p, q] == image[c, i + p, j + q] for c, p, q in np.ndindex(2, k, k))
    assert square_patches(image).shape == (1, 2, 2, 5, 5)  # two squares of 5, three columns unused
    assert size(13, 5, stride=5).unused == 3


# --- windows over a cell ---------------------------------------------------------------------------------------------

LAID = [
    Windows.over((7, 7), (3, 3)),
    Windows.over((6, 9), (3, 2), stride=(2, 3), padding=((1, 0), (0, 1))),
    Windows.over((8, 5), (2, 3), stride=(1, 2), dilation=(3, 2), padding=2),
    Windows.over((4, 4), (2, 2), stride=3),
    Windows.over((3, 5), (2, 2), padding="full"),
    Windows.over((5, 6), (2, 3), stride=2, padding=1, ceil_mode=True),
]


def met(w: Windows, axis: int) -> list[tuple[int, int, int]]:
    """(window, tap, cell) along an axis, for cells of the input."""
    found = []
    for q, t in itertools.product(range(w.count[axis]), range(w.kernel[axis])):
        cell = q * w.stride[axis] + t * w.dilation[axis] - w.before[axis]
        if 0 <= cell < w.size[axis]:
            found.append((q, t, cell))
    return found


@pytest.mark.system("S47", "S64")
def test_windows_over_each_cell_are_counted() -> None:
    for w in LAID:
        expected = np.zeros(w.size, int)
        for (_, _, i), (_, _, j) in itertools.product(met(w, 0), met(w, 1)):
            expected[i, j] += 1
        assert np.array_equal(coverage(w), expected)
        laid = zip(w.size, w.count, w.kernel, w.stride, w.before, w.dilation, strict=True)
        for axis, (n, *numbers) in enumerate(laid):
            for cell in range(n):
                assert windows_over(cell, *numbers) == [(q, t) for q, t, u in met(w, axis) if u == cell]


@pytest.mark.system("S64")
def test_the_border_of_an_image_counts_less_than_its_centre() -> None:
    """katsaros (valid padding): 1 window over a corner of 7 by 7, 9 over the centre; half padding gives 4 and 9."""
    found = coverage(Windows.over((7, 7), (3, 3)))
    assert (found[0, 0], found[0, 3], found[3, 3]) == (1, 3, 9)
    half = coverage(Windows.over((7, 7), (3, 3), padding="same"))
    assert (half[0, 0], half[0, 3], half[3, 3]) == (4, 6, 9)
    # It is the gradient of the sum of all outputs of a kernel of ones.
    gx, _, _ = refnn.conv2d.vjp(np.ones((1, 1, 5, 5)), np.zeros((1, 1, 7, 7)), np.ones((1, 1, 3, 3)))
    assert np.array_equal(gx[0, 0], found)


@pytest.mark.system("S47")
def test_links_of_nodes_and_of_weights() -> None:
    """cnnmath: the corner is used once for each map of the next layer, and each weight height times width times."""
    for height, width, f in ((6, 7, 3), (4, 5, 2), (3, 3, 3)):
        w = Windows.over((height, width), (f, f))
        found = coverage(w)
        assert found[-1, -1] == found[0, 0] == 1
        assert found.sum() == (height - f + 1) * (width - f + 1) * f**2
        # The bounds check of the deltas: the taps a for which i - a is a node of the next layer.
        for i in range(height):
            taps = [t for _, t in windows_over(i, height - f + 1, f)]
            assert sorted(taps) == [a for a in range(f) if 0 <= i - a < height - f + 1]
        (row,) = layers(
            Network([Node("conv", "conv2d", ("x", "conv.weight"))]),
            {"x": (2, height, width), "conv.weight": (3, 2, f, f)},
        )
        assert row.sharing == (height - f + 1) * (width - f + 1)
        assert row.links == found.sum() * 2 * 3


# --- receptive fields, against the support of gradients --------------------------------------------------------------

Shape = tuple[int, ...]


def support(net: Network, shapes: dict[str, Shape], node: str, place: Shape) -> np.ndarray:
    """The cells of the first input, over all channels, that have a gradient from a value of a node. All numbers are
    positive, so that none is 0 by chance, and each cell is by far the largest once, and so every maximum."""
    whole = Network(net.nodes[: [n.name for n in net.nodes].index(node) + 1], inputs=net.inputs)
    rng = np.random.default_rng(0)
    values = {n: rng.integers(1, 4, (1, *s) if n in net.inputs else s).astype(float) for n, s in shapes.items()}
    first, ar = values[net.inputs[0]], Floats(np.float64)
    pooled = any(n.op.startswith("max_pool") for n in whole.nodes)
    found = np.zeros(first.shape[2:], dtype=bool)
    for cell in np.ndindex(found.shape) if pooled else [None]:
        if cell is not None:
            values[net.inputs[0]] = first.copy()
            values[net.inputs[0]][:, :, *cell] = 1e6
        made = whole._forward(ar, {n: values[n] for n in (*whole.parameters, *whole.inputs)})
        g = np.zeros_like(made[node])
        g[0, 0, *place] = 1
        found |= whole._backward(ar, made, g)[net.inputs[0]].any((0, 1))
    return found


def cells(fields: tuple[Field, ...], place: Shape, size: Shape) -> np.ndarray:
    """The cells of an input that fields hold."""
    axes = []
    for f, q, n in zip(fields, place, size, strict=True):
        behind = np.arange(n) - f.start - f.jump * q
        axes.append((behind >= 0) & (behind < f.size))
    return np.asarray(functools.reduce(np.multiply.outer, axes))


def stack(*slides: tuple[str, Any, dict[str, Any]], rank: int = 1) -> tuple[Network, dict[str, Shape]]:
    """Layers of windows one upon the other, each an op, its kernel and its parameters; the shapes of the kernels."""
    nodes: list[Node] = []
    shapes: dict[str, Shape] = {}
    for n, (op, kernel, params) in enumerate(slides):
        source = nodes[-1].name if nodes else "x"
        if op.startswith("conv"):
            shapes[f"n{n}.weight"] = (1, 1, *per_axis(kernel, rank))
            nodes.append(Node(f"n{n}", op, (source, f"n{n}.weight"), params))
        else:
            nodes.append(Node(f"n{n}", op, (source,), {"kernel_size": kernel, **params}))
    return Network(nodes), shapes


CONV3 = ("conv1d", 3, {})
LECTURE: dict[str, tuple[list[Any], int, list[int], list[int]]] = {
    "three filters of 3": ([CONV3] * 3, 9, [3, 5, 7], [1, 1, 1]),
    "stride 2": ([("conv1d", 3, {"stride": 2})] * 3, 31, [3, 7, 15], [2, 4, 8]),
    "maxima": (
        [CONV3, ("max_pool1d", 2, {}), CONV3, ("max_pool1d", 2, {}), CONV3],
        26,
        [3, 4, 8, 10, 18],
        [1, 2, 2, 4, 4],
    ),
    "means": (
        [CONV3, ("avg_pool1d", 2, {}), CONV3, ("avg_pool1d", 2, {}), CONV3],
        26,
        [3, 4, 8, 10, 18],
        [1, 2, 2, 4, 4],
    ),
    "padding": (
        [
            ("conv1d", 3, {"padding": "same"}),
            ("max_pool1d", 3, {"stride": 2, "padding": 1}),
            ("conv1d", 2, {"padding": ((1, 0),), "stride": 3}),
        ],
        13,
        [3, 5, 7],
        [1, 2, 6],
    ),
}


@pytest.mark.system("S62")
@pytest.mark.parametrize("name", LECTURE)
def test_receptive_fields_are_the_support_of_gradients(name: str) -> None:
    """katsaros: 3, 5, 7 for three filters of 3; 3, 7, 15 with stride 2; 3, 4, 8, 10, 18 with pools between them."""
    slides, length, sizes, jumps = LECTURE[name]
    net, shapes = stack(*slides)
    shapes["x"] = (1, length)
    found = fields(net, shapes)
    assert [(f.size, f.jump) for (f,) in found.values()] == list(zip(sizes, jumps, strict=True))
    made = net.infer({**shapes, "x": (1, 1, length)})
    for node, field in found.items():
        for q in range(made[node][2]):
            assert np.array_equal(support(net, shapes, node, (q,)), cells(field, (q,), (length,))), (node, q)


def test_fields_of_images_have_their_own_axes() -> None:
    net, shapes = stack(
        ("conv2d", (3, 2), {"stride": (2, 1), "padding": ((1, 0), (0, 1))}),
        ("avg_pool2d", (2, 3), {"stride": (1, 2)}),
        ("conv2d", 2, {"padding": (0, 1)}),
        rank=2,
    )
    shapes["x"] = (1, 11, 8)
    made = net.infer({**shapes, "x": (1, 1, 11, 8)})
    for node, found in fields(net, shapes).items():
        for place in np.ndindex(made[node][2:]):
            assert np.array_equal(support(net, shapes, node, place), cells(found, place, (11, 8))), (node, place)


def test_a_dilated_field_reaches_from_its_first_cell_to_its_last() -> None:
    net, shapes = stack(("conv1d", 3, {"dilation": 2, "padding": 2}), ("avg_pool1d", 2, {"stride": 1}))
    shapes["x"] = (1, 12)
    (field,) = fields(net, shapes)["n1"]
    assert field == Field(6, 1, -2)
    for q in range(2, 7):
        seen = np.flatnonzero(support(net, shapes, "n1", (q,)))
        assert (seen[0], seen[-1]) == (field.start + q, field.start + q + field.size - 1)


def test_values_of_a_transposed_convolution_see_differently_many_cells() -> None:
    """Which is why it, and what follows, has no field; what stands before it has."""
    up = [Node("up", "conv_transpose1d", ("n0", "up.weight"), {"stride": 2}), Node("after", "relu", ("up",))]
    net, shapes = stack(CONV3)
    net, shapes = Network([*net.nodes, *up]), {**shapes, "x": (1, 8), "up.weight": (1, 1, 3)}
    assert fields(net, shapes) == {"n0": (Field(3, 1, 0),)}
    assert [row.fields for row in layers(net, shapes)] == [(Field(3, 1, 0),), (), ()]
    assert {int(support(net, shapes, "up", (q,)).sum()) for q in range(2, 8)} == {3, 4}


def test_a_dense_layer_sees_what_all_before_it_see() -> None:
    net, shapes = stack(("conv1d", 3, {}), ("avg_pool1d", 2, {}))
    net = Network([*net.nodes, Node("flatten", "flatten", ("n1",)), Node("fc", "linear", ("flatten", "fc.weight"))])
    found = fields(net, {**shapes, "x": (1, 9), "fc.weight": (2, 3)})
    assert found["flatten"] == found["fc"] == (Field(8, 0, 0),)  # of 9 cells: the last stays unused
    rest = support(net, {**shapes, "x": (1, 9), "fc.weight": (2, 3)}, "fc", ())
    assert rest.tolist() == [True] * 8 + [False]


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_a_softmax_sees_all_of_its_axis(name: str) -> None:
    """Along the channels it sees one pixel, along a spatial axis a row or a column of them."""
    conv, shapes = stack(("conv2d", (3, 2), {}), rank=2)
    for axis in (1, 2, 3, -1, -2):
        net = Network([*conv.nodes, Node("n", name, ("n0",), {"axis": axis})])
        found = fields(net, {**shapes, "x": (1, 6, 5), "n0.weight": (2, 1, 3, 2)})["n"]
        for place in ((0, 0), (3, 2)):
            seen = support(net, {**shapes, "x": (1, 6, 5), "n0.weight": (2, 1, 3, 2)}, "n", place)
            assert np.array_equal(seen, cells(found, place, (6, 5))), (axis, place)


def seen_by(op: Op, case: Any, place: Shape) -> np.ndarray:
    """The cells along the spatial axes of the first input that one value of an op has a gradient for or changes with,
    in many tries."""
    x, rest = case.inputs[0], case.inputs[1:]
    found = np.zeros(x.shape[2:], dtype=bool)
    declared, value = next(iter(op.inputs.values())), op(*case.inputs, **case.params)[place]
    tries = [x, inside(-x, declared), x / 8]
    for cell in np.ndindex(found.shape):
        for step in (100, -100):
            moved = x.copy()
            moved[:, :, *cell] += step
            tries.append(inside(moved, declared))
            found[cell] |= op(tries[-1], *rest, **case.params)[place] != value
    for tried in tries:
        y, pull = op.pullback(tried, *rest, **case.params)
        g = np.zeros_like(y)
        g[place] = 1
        found |= (pull(g)[0] != 0).any((0, 1))
    return found


@pytest.mark.parametrize("name", refnn.ops)
def test_every_op_sees_as_far_as_its_field_says(name: str) -> None:
    """One node of each op; ops of which more is mixed than is said would be caught, as those of which less is."""
    op = refnn.ops[name]
    rank = int(name[-2]) if name[-2:] in ("1d", "2d", "3d") else None
    looked = 0
    for whole in cases(alone(op), "float64", families=["normal"]):
        sized = {n for n in ("x", "input", "target", "mask", "slope", "query", "key", "value") if n in op.inputs}
        # of one sample
        arrays = {
            n: a[:1] if n in sized and a is not None and a.ndim else a
            for n, a in zip(op.inputs, whole.inputs, strict=True)
        }
        if name == "dropout":
            arrays["mask"] = np.ones_like(arrays["mask"])  # what is dropped is seen at other times
        params = {**whole.params, **({"weight": None} if "pos_weight" in whole.params else {})}
        if arrays.get("target") is not None and arrays["target"].dtype.kind in "iu":
            arrays["target"] = np.maximum(arrays["target"], 0)  # likewise, of what is ignored
        case = dataclasses.replace(whole, inputs=tuple(arrays.values()), params=params)
        shapes = {n: np.shape(a) for n, a in arrays.items() if a is not None}
        first, *others = shapes
        if len(shapes[first]) < 3 or 0 in shapes[first] or math.prod(shapes[first]) > 300:
            continue
        if rank and len(shapes[first]) != rank + 2:
            continue  # no batch axis
        net = Network([Node("n", name, (first, *(f"n.{o}" for o in others)), case.params)], inputs=(first,))
        values = {first: shapes[first][1:], **{f"n.{o}": arrays[o] for o in others}}
        if name.startswith("conv_transpose"):
            assert fields(net, values) == {}  # its values see differently many cells
            looked += 1
            continue
        found, y = fields(net, values)["n"], op(*case.inputs, **case.params)
        kept = y.ndim - len(found)  # the axes before the spatial ones
        for place in itertools.islice(np.ndindex(y.shape), 0, None, max(1, y.size // 12)):
            if place[:1] not in ((), (0,)):
                continue
            where = place[kept:] if kept >= 1 else (0,) * len(found)
            seen, expected = seen_by(op, case, place), cells(found, where, shapes[first][2:])
            # There are gaps, no axis is left, or the first query sees one key, whatever it is.
            if name in ("glu", "flatten") or case.params.get("dilation", 1) != 1 or case.params.get("is_causal"):
                assert not (seen & ~expected).any(), (case.id, place)
            else:
                assert np.array_equal(seen, expected), (case.id, place)
            looked += 1
    assert looked or not any(len(next(iter(v.shapes.values()))) > 2 for v in op.variants)


# --- counts, against counting ----------------------------------------------------------------------------------------


def linked(net: Network, shapes: dict[str, Shape]) -> int:
    """The pairs of a cell of the input and a value of the output with a derivative, counted in random numbers."""
    rng = np.random.default_rng(0)
    arrays = {n: rng.normal(size=(1, *s) if n in net.inputs else s) for n, s in shapes.items()}
    ar = Floats(np.float64)
    made = net._forward(ar, arrays)
    count = 0
    for place in np.ndindex(made["n"].shape):
        g = np.zeros_like(made["n"])
        g[place] = 1
        count += np.count_nonzero(net._backward(ar, made, g)[net.inputs[0]])
    return count


LINKED: list[tuple[str, Shape, Shape, dict[str, Any]]] = [
    ("linear", (5,), (3, 5), {}),
    ("linear", (4, 5), (3, 5), {}),
    ("prelu", (3, 4), (3,), {}),
    ("conv1d", (2, 9), (3, 2, 4), {"stride": 2, "padding": "full"}),
    ("conv2d", (2, 5, 4), (3, 2, 3, 2), {"padding": "same"}),
    (
        "conv2d",
        (4, 6, 5),
        (6, 2, 3, 3),
        {"stride": (2, 1), "padding": ((1, 0), (0, 3)), "groups": 2, "dilation": (1, 2)},
    ),
    ("conv3d", (1, 3, 4, 3), (2, 1, 2, 2, 3), {"padding": (0, 1, 2)}),
    ("conv_transpose1d", (2, 4), (2, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ("conv_transpose2d", (4, 3, 2), (4, 1, 3, 2), {"stride": (1, 3), "groups": 2}),
    ("locally_connected2d", (2, 5, 4), (3, 2, 2, 3, 3, 2), {"stride": (2, 1)}),
]


@pytest.mark.system("S47", "S69")
@pytest.mark.parametrize(("op", "x", "weight", "params"), LINKED, ids=[f"{n}-{c[0]}" for n, c in enumerate(LINKED)])
def test_links_are_the_derivatives_that_are_not_0(op: str, x: Shape, weight: Shape, params: dict[str, Any]) -> None:
    net = Network([Node("n", op, ("x", "n.weight"), params)])
    shapes = {"x": x, "n.weight": weight}
    (found,) = layers(net, shapes)
    assert found.links == linked(net, shapes)
    assert (found.weights, found.biases) == (math.prod(weight), 0)


def blocks(op: str, x: Shape, weight: Shape, bias: Shape, **params: Any) -> Any:
    """A layer of 50 blocks of 12 by 12 neurons: its account."""
    nodes = [Node("n", op, ("x", "n.weight", "n.bias"), params)]
    return layers(Network(nodes), {"x": x, "n.weight": weight, "n.bias": bias})[0]


@pytest.mark.system("S50")
def test_a_dense_an_unshared_and_a_shared_layer() -> None:
    """katsaros (motivational example): 7,372,800, 180,000 and 1,250 weights; 7,380,000, 187,200, 1,300 with biases."""
    dense = blocks("linear", (1024,), (7200, 1024), (7200,))
    unshared = blocks("locally_connected2d", (1, 38, 38), (50, 1, 12, 12, 5, 5), (50, 12, 12), stride=3)
    shared = blocks("conv2d", (1, 32, 32), (50, 1, 5, 5), (50,), stride=3, padding=3)
    assert [r.activations for r in (dense, unshared, shared)] == [7200] * 3
    assert [r.weights for r in (dense, unshared, shared)] == [7372800, 180000, 1250]
    assert [r.weights + r.biases for r in (dense, unshared, shared)] == [7380000, 187200, 1300]
    assert (dense.sharing, unshared.sharing) == (1, 1)
    # Shared by all 144 windows, but for the products with the padding that the other layer reads as 38 by 38 cells.
    inside = sum(0 <= 3 * q - 3 + t < 32 for q in range(12) for t in range(5)) ** 2
    assert shared.links == inside * 50 < unshared.links == shared.weights * 144
    # The same function, if the weights are tied.
    rng = np.random.default_rng(0)
    x, w, b = rng.integers(-9, 10, (2, 1, 32, 32)), rng.integers(-9, 10, (50, 1, 5, 5)), rng.integers(-9, 10, 50)
    wide = np.pad(x, ((0, 0), (0, 0), (3, 3), (3, 3))).astype(float)
    tied = np.broadcast_to(w[:, :, None, None], (50, 1, 12, 12, 5, 5)).astype(float)
    own = refnn.locally_connected2d(wide, tied, np.broadcast_to(b[:, None, None], (50, 12, 12)).astype(float), stride=3)
    assert np.array_equal(own, refnn.conv2d(*(a.astype(float) for a in (x, w, b)), stride=3, padding=3))


@pytest.mark.system("S52")
def test_a_volume_of_three_channels_becomes_five_maps() -> None:
    """katsaros (slide 20): 32 by 32 by 3 to 28 by 28 by 5, each value a dot product of 75 numbers; 375 + 5 weights."""
    rng = np.random.default_rng(0)
    x, w, b = rng.integers(0, 256, (3, 32, 32)), rng.integers(-9, 10, (5, 3, 5, 5)), rng.integers(-9, 10, 5)
    y = refnn.conv2d(*(a.astype(float) for a in (x, w, b)))
    assert y.shape == (5, 28, 28) and y.size == 3920
    for p, i, j in itertools.product(range(5), (0, 13, 27), (0, 8, 27)):
        volume = x[:, i : i + 5, j : j + 5].ravel().tolist()
        assert len(volume) == 75
        assert y[p, i, j] == sum(u * v for u, v in zip(volume, w[p].ravel().tolist(), strict=True)) + int(b[p])
    found = blocks("conv2d", (3, 32, 32), (5, 3, 5, 5), (5,))
    assert (found.weights, found.biases, found.output) == (375, 5, (5, 28, 28))


@pytest.mark.system("S71")
def test_a_dense_head_at_full_size_is_counted_and_not_made() -> None:
    """katsaros: more than 16 million weights between two layers of 4096, and most parameters of a network in them."""
    nodes = [
        Node("conv", "conv2d", ("x", "conv.weight", "conv.bias"), {"padding": "same"}),
        Node("pool", "max_pool2d", ("conv",), {"kernel_size": 2}),
        Node("flatten", "flatten", ("pool",)),
        Node("fc6", "linear", ("flatten", "fc6.weight", "fc6.bias")),
        Node("fc7", "linear", ("fc6", "fc7.weight", "fc7.bias")),
    ]
    shapes = {
        "x": (512, 14, 14),
        "conv.weight": (512, 512, 3, 3),
        "conv.bias": (512,),
        "fc6.weight": (4096, 25088),
        "fc6.bias": (4096,),
        "fc7.weight": (4096, 4096),
        "fc7.bias": (4096,),
    }
    rows = {r.name: r for r in layers(Network(nodes), shapes)}
    assert rows["fc7"].weights == rows["fc7"].links == 16777216
    assert rows["fc6"].weights + rows["fc7"].weights > 9 * rows["conv"].weights
    assert rows["conv"].activations > 10 * (rows["fc6"].activations + rows["fc7"].activations)
    assert rows["conv"].sharing > 150  # of 196 windows, without the products of padding


@pytest.mark.system("S69")
def test_what_pooling_saves_are_activations() -> None:
    """katsaros says that 75% of the parameters are saved by pools of 2 by 2 on 4 by 4: it is the activations, and the
    weights of a dense layer behind; a pool has no parameters, and a convolution behind has as many as before."""
    pool = Node("pool", "max_pool2d", ("x",), {"kernel_size": 2})
    shapes = {"x": (1, 4, 4), "conv.weight": (8, 1, 2, 2)}
    conv = lambda source: Node("conv", "conv2d", (source, "conv.weight"))  # noqa: E731
    pooled, after = layers(Network([pool, conv("pool")]), shapes)
    (bare,) = layers(Network([conv("x")]), shapes)
    assert (math.prod(shapes["x"]), pooled.activations) == (16, 4)
    assert pooled.weights + pooled.biases == 0 and after.weights == bare.weights
    flatten = Node("flatten", "flatten", ("pool",))
    fc = Node("fc", "linear", ("flatten", "fc.weight"))
    dense = [
        layers(Network([*before, fc]), {"x": (1, 4, 4), "fc.weight": (10, n)})[-1].weights
        for before, n in (([Node("flatten", "flatten", ("x",))], 16), ([pool, flatten], 4))
    ]
    assert dense == [160, 40]


def alive(net: Network, made: dict[str, Shape]) -> int:
    """The most values held at once while a network is evaluated node by node: each is kept until none needs it."""
    left, peak = [n.name for n in net.nodes], 0
    have = set(net.inputs)
    for node in net.nodes:
        have.add(node.name)
        peak = max(peak, sum(math.prod(made[v]) for v in have))
        left.remove(node.name)
        needed = {v for n in net.nodes if n.name in left for v in n.inputs} | {net.nodes[-1].name}
        have &= needed
    return peak


@pytest.mark.system("S69")
def test_training_holds_every_activation_and_evaluation_those_in_use() -> None:
    """katsaros: activations times mini-batch. challa2023 (Case 1), layers of 4, 5, 6, 5 and 3 and 7 samples: 161 stored
    x, 133 stored dLa."""
    widths = (4, 5, 6, 5, 3)
    nodes, shapes = [], {"x": (4,)}
    for n, (inputs, outputs) in enumerate(itertools.pairwise(widths), 1):
        nodes.append(Node(f"fc{n}", "linear", (f"relu{n - 1}" if n > 1 else "x", f"fc{n}.weight", f"fc{n}.bias")))
        nodes.append(Node(f"relu{n}", "relu", (f"fc{n}",)))
        shapes |= {f"fc{n}.weight": (outputs, inputs), f"fc{n}.bias": (outputs,)}
    net = Network(nodes[:-1])
    rows = layers(net, shapes)
    dense = [r.activations for r in rows if r.op == "linear"]  # a value and its dLa for each node that is a sum
    assert ((widths[0] + sum(dense)) * 7, sum(dense) * 7) == (161, 133)
    assert held(net, shapes) == widths[0] + sum(r.activations for r in rows)
    assert held(net, shapes, training=False) == alive(net, net.infer({**shapes, "x": (1, 4)})) == 12
    # A value of two uses is held until the second of them.
    twice = Network([Node("a", "relu", ("x",)), Node("b", "tanh", ("a",)), Node("c", "mse_loss", ("b", "a"))])
    assert held(twice, {"x": (5,)}, training=False) == alive(twice, twice.infer({"x": (1, 5)})) == 11
    assert held(twice, {"x": (5,)}) == 16


TITLES = ("weights", "biases", "links", "field")


def test_the_account_of_a_network_as_a_table() -> None:
    net = Network.load("digits_mlp")
    head, *lines = table(layers(net), batch=32).splitlines()
    assert re.split("  +", head) == ["layer", "op", "output", *TITLES, "activations x 32", "bytes"]
    assert [line.split() for line in lines] == [
        ["fc1", "linear", "32", "2,048", "32", "2,048", "1,024", "12,416"],
        ["relu", "relu", "32", "0", "0", "0", "1,024", "4,096"],
        ["fc2", "linear", "10", "320", "10", "320", "320", "2,600"],
    ]
    assert {len(line) for line in lines} == {len(head)}
    halves = table(layers(net), batch=32, dtype="bfloat16").splitlines()
    assert [2 * int(line.split()[-1].replace(",", "")) for line in halves[1:]] == [12416, 4096, 2600]
    with pytest.raises(ValueError, match=r"table: dtype is 'float23', expected one of .* did you mean 'float32'"):
        table(layers(net), dtype="float23")
    longer = Network([*net.nodes, Node("fc3", "linear", ("fc2", "fc3.weight"))], shapes=net.shapes)
    own = {n: v.shape for n, v in net.weights["initial"].items()}
    with pytest.raises(ValueError, match=r"network: the shape of 'fc3.weight' is missing, got x, fc"):
        layers(longer, own)
    assert len(layers(longer, {**own, "fc3.weight": (7, 10)})) == 4
