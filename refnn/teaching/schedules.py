r"""Schedules of backpropagation: one gradient, for several prices in memory and work.

    dL/dw = 1/S sum_k dl_k/dw                              challa2023 (29), (30)

S samples go through layers n = 1, ..., N-1. A layer is a node with parameters and what follows it up to the next one;
x^n is what it hands on, J^n numbers, and x^0 the sample. Backward goes from dL/dx^n to dL/dx^(n-1), which becomes the
sources' dLa^(n-1) in the next step, by the activation's derivative, and has as many numbers. Steps of one sample
through one layer, and numbers that are held at once, for layers that have ReLU or nothing after an affine map:

    schedule                          forward       backward   x                dL/dx
    store_all          (case 1)       S (N-1)       S (N-1)    S sum_n J^n      S sum_(n>0) J^n
    sweep_by_sweep     (case 2)       S (N-1)^2     S (N-1)    sum_n J^n        S sum_(n>0) J^n
      frugal                          S N(N-1)/2    S (N-1)    sum_n J^n        <= (S+1) max J^n
    sample_by_sample   (case 3)       S (N-1)       S (N-1)    sum_n J^n        max J^n + J^(n-1)
    checkpointed       (modern)       < 2 S (N-1)   S (N-1)    S (some of them) S (max J^n + J^(n-1))

The last column counts what a layer is given and what it makes of it, n > 1, while both are there. Two buffers that fit
any layer take 2 max J^n: 12 numbers for widths 4-5-6-5-3, where 11 are held. What is made and used up within a step is
not counted. ReLU needs no value but its output (x > 0 exactly where a > 0), which overwrites the a of an affine map;
for other activations the x column has a, too.

Which bits: `store_all` and `checkpointed` take the batch through a layer as a whole, the other two sample by sample.
Within either pair the same ops are applied to the same arrays, and what a sample adds is added in the same order, so
the gradients are the same to the bit. Between the pairs sums over samples have another order: the gradients are equal
where sums are exact (as in fractions) and where S = 1, and else both within the allowance of the network.
"""

from __future__ import annotations

import math
from collections import ChainMap, Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from refnn.arithmetic.exact import Fractions
from refnn.arithmetic.floats import Floats
from refnn.networks.network import Network, Params
from refnn.op import Op
from refnn.ops import find
from refnn.refusals import check_finite

Array = Any

# Their derivatives do not depend on their output, so that a ReLU may overwrite it.
AFFINE = (
    *("linear", "conv1d", "conv2d", "conv3d", "locally_connected2d"),
    *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
)


@dataclass(frozen=True)
class Counts:
    """Steps of one sample through one layer, and the most numbers of x and of dL/dx that were held at once."""

    forward: int = 0
    backward: int = 0
    x: int = 0
    dx: int = 0


@dataclass(frozen=True, eq=False)
class Pass:
    """The mean loss of a batch, its gradient for every parameter, and what they cost."""

    loss: Any
    grads: dict[str, np.ndarray]
    counts: Counts


Schedule = Callable[..., Pass]


def store_all(net: Network, params: Params, *inputs: np.ndarray, target: np.ndarray, loss: str | Op) -> Pass:
    """Case 1 of challa2023, "time saver but more memory": every x and every dL/dx of all samples is kept.

    `inputs` and `target` have the samples on their first axis; `loss` is an op of (input, target) with a reduction,
    whose sum over the samples is differentiated and divided by S. Arrays of fractions (dtype object) are computed
    exactly, in ops that are rational. ValueError or TypeError names what does not go together, and the position of a
    sample or target that is no finite number.
    """
    batch = _Batch(net, params, inputs, target, loss)
    for n in batch.layers:
        batch.forward(0, n)
    for n in reversed(batch.layers):
        batch.backward(0, n)
    return batch.done()


def sweep_by_sweep(
    net: Network, params: Params, *inputs: np.ndarray, target: np.ndarray, loss: str | Op, frugal: bool = False
) -> Pass:
    """Case 2 of challa2023, "memory save but more time": each sweep over the samples goes one layer further back, and
    computes x afresh. `frugal` stops each forward pass where x is no longer needed, and forgets each dL/dx likewise.

    Arguments and errors as for `store_all`; ValueError names a layer that mixes the samples of a batch.
    """
    batch = _Batch(net, params, inputs, target, loss, singly="sweep_by_sweep")
    for n in reversed(batch.layers):
        for k in batch.parts:
            for m in batch.layers[: n + 1] if frugal else batch.layers:
                batch.forward(k, m)
            batch.backward(k, n, keep=not frugal)
            batch.x.forget(k)
    return batch.done()


def sample_by_sample(net: Network, params: Params, *inputs: np.ndarray, target: np.ndarray, loss: str | Op) -> Pass:
    """Case 3 of challa2023, which it does not write out: a sample goes forward and all the way back, and adds to the
    gradient. As little work as case 1, and the memory of one sample. Today it is called gradient accumulation.

    Arguments and errors as for `sweep_by_sweep`.
    """
    batch = _Batch(net, params, inputs, target, loss, singly="sample_by_sample")
    for k in batch.parts:
        for n in batch.layers:
            batch.forward(k, n)
        for n in reversed(batch.layers):
            batch.backward(k, n, keep=False)
        batch.x.forget(k)
    return batch.done()


def checkpointed(
    net: Network, params: Params, *inputs: np.ndarray, target: np.ndarray, loss: str | Op, every: int | None = None
) -> Pass:
    """Of segments of `every` layers (the root of their number, rounded up, if not given) only the first x is kept;
    going back, the others are computed afresh, once (Griewank, Optim. Methods Softw. 1 (1992) 35; Chen et al.,
    arXiv:1604.06174).

    Arguments and errors as for `store_all`.
    """
    batch = _Batch(net, params, inputs, target, loss)
    length = math.isqrt(len(batch.layers) - 1) + 1 if every is None else every
    if not isinstance(length, int) or not 1 <= length <= len(batch.layers):
        raise ValueError(f"{net.name}: every is {length}, expected a number of layers from 1 to {len(batch.layers)}")
    *earlier, last = [batch.layers[n : n + length] for n in batch.layers[::length]]
    for segment in earlier:
        for n in segment:
            batch.forward(0, n)
        batch.x.forget(0, batch.made(segment) - batch.used(batch.layers[segment.stop :]))
    for segment in (last, *reversed(earlier)):
        batch.x.forget(0, batch.made(segment))
        for n in segment:
            batch.forward(0, n)
        for n in reversed(segment):
            batch.backward(0, n, keep=False)
            batch.x.forget(0, batch.made([n]))
    return batch.done()


SCHEDULES: Mapping[str, Schedule] = {f.__name__: f for f in (store_all, sweep_by_sweep, sample_by_sample, checkpointed)}


# --- what they are made of -------------------------------------------------------------------------------------------


class _Held:
    """Arrays by the part of the batch and by name, and the most numbers that were held at once."""

    def __init__(self) -> None:
        self.parts: defaultdict[int, dict[str, Array]] = defaultdict(dict)
        self.sizes: Counter[int] = Counter()
        self.most = 0

    def hold(self, k: int, arrays: Mapping[str, Array]) -> None:
        self.parts[k].update(arrays)
        self._count(k)
        self.most = max(self.most, self.sizes.total())

    def forget(self, k: int, names: Iterable[str] | None = None) -> None:
        """Let go of these arrays of a part; of all if none are named."""
        for name in [*self.parts[k]] if names is None else names:
            self.parts[k].pop(name, None)
        self._count(k)

    def _count(self, k: int) -> None:
        """One address counts once: flatten makes no copy, and ReLU's input has the place of its output."""
        self.sizes[k] = sum({v.ctypes.data: v.size for v in self.parts[k].values()}.values())


class _Batch:
    """A batch on its way through the layers of a network and back, as a whole or in parts of one sample.

    `singly` is the name of the schedule that takes one sample at a time.
    """

    def __init__(
        self,
        net: Network,
        params: Params,
        inputs: Sequence[np.ndarray],
        target: np.ndarray,
        loss: str | Op,
        *,
        singly: str = "",
    ) -> None:
        arrays = net._arrays(params, inputs)
        _check(net, arrays, target, loss)
        self.samples, self.target = len(target), target
        if singly:
            _refuse_mixed(net, arrays, singly)
        dtypes = [a.dtype for a in arrays.values() if a.dtype.kind not in "biu"]
        exact, own = np.dtype(object) in dtypes, net.op.convention
        self.ar: Any = Fractions(convention=own) if exact else Floats(dtypes[0], convention=own)
        self.net, self.loss = net, find(loss)
        self.params = {name: self._lifted(arrays[name]) for name in net.parameters}
        self.inputs = {name: self._lifted(arrays[name]) for name in net.inputs}
        self.rows = [slice(k, k + 1) for k in range(self.samples)] if singly else [slice(0, self.samples)]
        starts = [i for i, node in enumerate(net.nodes) if set(node.inputs) & set(net.parameters)]
        bounds = [0, *starts[1:], len(net.nodes)]
        self._nodes = [net.nodes[a:b] for a, b in pairwise(bounds)]
        self._overwriting = _overwriting(net)
        self.x, self.dx, self.counts = _Held(), _Held(), Counts()
        self.grads: dict[str, Array] = {}
        self.total: Any = None

    @property
    def layers(self) -> range:
        return range(len(self._nodes))

    @property
    def parts(self) -> range:
        return range(len(self.rows))

    def made(self, layers: Iterable[int]) -> set[str]:
        """The names of what these layers make."""
        return {node.name for n in layers for node in self._nodes[n]}

    def used(self, layers: Iterable[int]) -> set[str]:
        """The names of what they are made from."""
        return {name for n in layers for node in self._nodes[n] for name in node.inputs}

    def forward(self, k: int, n: int) -> None:
        """Take a part through layer n."""
        rows = self.rows[k]
        values = ChainMap({}, self.x.parts[k], {name: x[rows] for name, x in self.inputs.items()}, self.params)
        with np.errstate(all="ignore"):
            for node in self._nodes[n]:
                values[node.name] = self.net.step(self.ar, node, values)
                if node.name in self._overwriting:
                    values[node.inputs[0]] = values[node.name]
        self.x.hold(k, {**values.maps[2], **values.maps[0]})
        self.counts = replace(self.counts, forward=self.counts.forward + rows.stop - rows.start)

    def backward(self, k: int, n: int, *, keep: bool = True) -> None:
        """Take a part back through layer n; `keep` also the cotangents that it is given."""
        rows = self.rows[k]
        values, layer = ChainMap(self.x.parts[k], self.params), self._nodes[n]
        with np.errstate(all="ignore"):
            if n == self.layers[-1]:
                self.dx.hold(k, {layer[-1].name: self._head(values[layer[-1].name], self.target[rows])})
            cotangents = dict(self.dx.parts[k])
            for node in reversed(layer):
                if node.name in cotangents:
                    for name, grad in self.net.pull(self.ar, node, values, cotangents[node.name]):
                        into = self.grads if name in self.params else cotangents
                        into[name] = into[name] + grad if name in into else grad
        made = self.made([n])
        self.dx.hold(k, {name: d for name, d in cotangents.items() if name not in made | {*self.inputs}})
        if not keep:
            self.dx.forget(k, made)
        self.counts = replace(self.counts, backward=self.counts.backward + rows.stop - rows.start)

    def _head(self, y: Array, target: Array) -> Array:
        """dl/dy of each of these samples, without 1/S; their losses are added to the total."""
        given = {"reduction": "sum"}
        if isinstance(self.ar, Floats):
            (_, target), full = self.loss.bind((self.ar.store(y), target), given)
            ar: Any = Floats(self.ar.dtype, convention=self.loss.convention)
        else:
            full, ar = {**self.loss.defaults, **given}, Fractions(convention=self.loss.convention)
        target = self._lifted(target)
        value = self.loss.forward_definition(ar, y, target, **full)
        d, _ = self.loss.vjp_definition(ar, ar.real(1), value, y, target, **full)
        self.total = value if self.total is None else self.total + value
        return d

    def _lifted(self, x: np.ndarray) -> Array:
        return x if x.dtype.kind in "iuO" else self.ar.array(x)

    def done(self) -> Pass:
        """1/S enters here, once."""
        grads = {name: self.ar.store(self.grads[name] / self.samples) for name in self.net.parameters}
        counts = replace(self.counts, x=self.x.most, dx=self.dx.most)
        return Pass(np.asarray(self.ar.store(self.total / self.samples))[()], grads, counts)


def _overwriting(net: Network) -> set[str]:
    """The ReLUs whose output may take the place of their input: an affine map makes it, and nothing else uses it."""
    uses = Counter(name for node in net.nodes for name in node.inputs)
    affine = {node.name for node in net.nodes if find(node.op).name in AFFINE}
    relus = [node for node in net.nodes if find(node.op).name == "relu"]
    return {node.name for node in relus if node.inputs[0] in affine and uses[node.inputs[0]] == 1}


def _check(net: Network, arrays: Mapping[str, np.ndarray], target: np.ndarray, loss: str | Op) -> None:
    op = find(loss)
    if list(op.inputs) != ["input", "target"] or "reduction" not in op.defaults:
        raise ValueError(f"{net.name}: the loss is {op!r}, expected an op of input and target with a reduction")
    if not net.parameters:
        raise ValueError(f"{net.name} has no parameters, so there is nothing to differentiate by")
    shapes = {**{name: arrays[name].shape for name in net.inputs}, "target": np.shape(target)}
    counts = {name: shape[0] if shape else 0 for name, shape in shapes.items()}
    if len(set(counts.values())) > 1 or not counts["target"]:
        given = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise ValueError(f"{net.name}: {given} samples, expected as many everywhere, at least one")
    net.infer(arrays)
    for name in shapes:
        check_finite(f"{net.name}: {name}", np.asarray(target if name == "target" else arrays[name]))


def _refuse_mixed(net: Network, arrays: Mapping[str, np.ndarray], schedule: str) -> None:
    """ValueError unless every node treats the samples apart: NaN goes wherever a number goes, and from the first of two
    samples must not reach the second. Each node is given ones beside NaN: no op of the catalogue makes NaN of them."""
    shapes = {n: a.shape if n in net.parameters else (2, *a.shape[1:]) for n, a in arrays.items()}
    two = {n: np.zeros(shape, np.int64 if arrays[n].dtype.kind in "biu" else np.float64) for n, shape in shapes.items()}
    for name in net.inputs:
        if two[name].dtype.kind == "f":
            two[name][0], two[name][1] = np.nan, 1
    ar = Floats(np.float64)
    with np.errstate(all="ignore"):
        for node in net.nodes:
            try:
                y = net.step(ar, node, two)
                mixed = y.shape[:1] != (2,) or np.isnan(y[1]).any()
                two[node.name] = np.where(np.isnan(y), y, 1.0)
            except ValueError:  # it takes the samples of this batch for something else
                mixed = True
            if mixed:
                raise ValueError(
                    f"{net.name}: node {node.name!r} ({find(node.op).name}) mixes the samples of a batch, "
                    f"which {schedule} takes one by one; store_all and checkpointed take them together"
                )
