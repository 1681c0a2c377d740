"""Cases of whole networks: their weights on the data that they were trained on, or on given inputs."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from refnn.formats import Format, format_of
from refnn.ids import CaseId
from refnn.judging.case import Case
from refnn.judging.independence import varied
from refnn.networks.network import Network

if TYPE_CHECKING:
    from refnn.networks import datasets


def network_cases(net: Network, dtype: str, given: Any = None, *, seed: int = 0) -> list[Case]:
    """Cases of a whole network: each set of its weights on a batch of 32, of real data if the network names some.

    `given` is a tuple of inputs, a mapping with `inputs`, `cotangent` and `params` (a dict of parameters), a list of
    these, or a case of the fixtures. ValueError says that the network has no weights, or no shapes for drawn inputs.
    """
    fmt = format_of(dtype)
    if isinstance(given, Case):
        if given.op.name != net.name or given.cotangent.dtype.name != dtype:
            raise ValueError(f"the case {given.id!r} is not a case of {net.name} in {dtype}")
        return [given]
    items = _default_items(net, fmt, seed) if given is None else given if isinstance(given, list) else [given]
    found = []
    for i, item in enumerate(items):
        spec = item if isinstance(item, Mapping) else {"inputs": item}
        sets: Mapping[str, Any] = {"given": spec["params"]} if spec.get("params") else net.weights or {"none": {}}
        if net.parameters and "none" in sets:
            raise ValueError(f"{net.name} has no weights of its own: pass inputs={{'inputs': (x,), 'params': {{...}}}}")
        for label, params in sets.items():
            weights = tuple(np.asarray(params[p]).astype(fmt.dtype) for p in net.parameters)
            arrays = tuple(np.asarray(x) for x in spec["inputs"])
            for n, x in zip(net.inputs, arrays, strict=True):
                if x.dtype != fmt.dtype and x.dtype.kind not in "biu":
                    raise TypeError(f"{net.name}: input {n} has dtype {x.dtype}, but the check runs in {dtype}")
            family = spec.get("family", "user")
            name = str(CaseId(net.name, dtype, family, f"weights={label}", str(i), seed))
            output = net.forward(dict(zip(net.parameters, weights, strict=True)), *arrays).output
            g = spec.get("cotangent")
            if callable(g):
                g = g(output)
            if g is None:
                g = np.random.default_rng(zlib.crc32(name.encode())).normal(size=output.shape).astype(fmt.dtype)
            g = net.op.cotangent(g, output.shape, fmt.dtype)
            random = varied(*weights, *arrays, g)
            found.append(Case(name, net.op, (*weights, *arrays), {}, g, family, random))
    return found


def _default_items(net: Network, fmt: Format, seed: int) -> list[Any]:
    if "data" in net.about:
        return [data_item(net, fmt, seed=seed)]
    if missing := [n for n in net.inputs if n not in net.shapes]:
        raise ValueError(f"{net.name} does not say what shape its input {missing[0]!r} has: pass inputs=")
    rng = np.random.default_rng(seed)
    inputs = tuple(rng.normal(size=(32, *net.shapes[n])).astype(fmt.dtype) for n in net.inputs)
    return [{"inputs": inputs, "family": "normal"}]


def data_item(net: Network, fmt: Format, *, whole: bool = False, seed: int = 0) -> dict[str, Any]:
    """Samples that a fixture network was trained on: some, drawn by `seed`, or the whole training set. The cotangent is
    the gradient of the head's mean loss, as in training, or 1 if the network's last node is that loss."""
    from refnn.networks import datasets, train  # which a check of an op does not load

    found, head = datasets.load(net.about["data"]), net.about["head"]
    chosen = found.training if whole else np.random.default_rng(seed).permutation(found.training)[: _count(net, found)]
    x, target = (a if a.dtype.kind in "biu" else a.astype(fmt.dtype) for a in (found.x[chosen], found.target[chosen]))

    def gradient(output: np.ndarray) -> np.ndarray:
        return np.ones_like(output) if "target" in net.inputs else train.loss(head, output, target)[1] / len(chosen)

    arrays = {"x": x, "target": target}
    return {"inputs": tuple(arrays[n] for n in net.inputs), "cotangent": gradient, "family": net.about["data"]}


VALUES = 1 << 16  # between the layers, in all samples of a check


def _count(net: Network, found: datasets.Data) -> int:
    """The number of samples in a check: 32, or fewer to keep to VALUES values, but at least one."""
    shapes = net.infer({**next(iter(net.weights.values())), "x": found.x[:1], "target": found.target[:1]})
    return min(32, max(1, VALUES // sum(math.prod(shapes[node.name]) for node in net.nodes)))
