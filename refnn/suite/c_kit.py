"""The batch by which the C kit checks its network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from refnn.judging.case import Case
from refnn.networks.network import Network, Node
from refnn.suite.export import c_header
from refnn.suite.fixture import Expected, Fixture
from refnn.suite.make import expectations, merged, widened
from refnn.suite.read import Suite

# conformance/c/network.h, layer by layer: the shapes are its macros.
NETWORK = Network(
    [
        Node("conv1", "conv1d", ("x", "conv1.weight", "conv1.bias")),
        Node("relu1", "relu", ("conv1",)),
        Node("conv2", "conv1d", ("relu1", "conv2.weight", "conv2.bias")),
        Node("relu2", "relu", ("conv2",)),
        Node("flat", "flatten", ("relu2",)),
        Node("fc1", "linear", ("flat", "fc1.weight", "fc1.bias")),
        Node("relu3", "relu", ("fc1",)),
        Node("drop", "dropout", ("relu3", "mask"), {"p": 0.5}),
        Node("fc2", "linear", ("drop", "fc2.weight", "fc2.bias")),
        Node("loss", "cross_entropy", ("fc2", "target")),
    ],
    name="c_kit",
    inputs=("x", "mask", "target"),
)
SHAPES = {
    "conv1.weight": (3, 2, 3),
    "conv1.bias": (3,),
    "conv2.weight": (2, 3, 2),
    "conv2.bias": (2,),
    "fc1.weight": (5, 10),
    "fc1.bias": (5,),
    "fc2.weight": (3, 5),
    "fc2.bias": (3,),
    "x": (4, 2, 8),
    "mask": (4, 5),
    "target": (4, 3),
}
SEED = 20261130


def fixture() -> Fixture:
    """A batch through the network: its mean loss, and the gradient of every parameter."""
    rng = np.random.default_rng(SEED)
    arrays = {n: rng.standard_normal(s).astype(np.float32) for n, s in SHAPES.items()}
    for n in NETWORK.parameters:  # so that few nodes are dead
        arrays[n] = np.float32(0.5) * (np.abs(arrays[n]) if n.endswith("bias") else arrays[n])
    arrays["mask"] = np.where(arrays["mask"] > -1, np.float32(1), np.float32(0))
    arrays["target"] = np.eye(3, dtype=np.float32)[arrays["target"].argmax(1)]
    one = np.ones((), np.float32)
    case = Case("c_kit/float32/normal/batch", NETWORK.op, tuple(arrays.values()), {}, one, "normal", random=False)
    found = merged(expectations(case, "float32"), expectations(widened(case, "float64"), "float64"))
    expect = {want: Expected(e.main) for want, e in found.items()}  # other classes of algorithms are not needed
    return Fixture(case.id, "c_kit", "normal", "float32", arrays, {}, one, expect)


def write(folder: Path) -> Path:
    """Write network_case.h into the C kit of a folder of fixtures."""
    path = folder / "c" / "network_case.h"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(c_header([(fixture(), "float32")], Suite()))
    return path
