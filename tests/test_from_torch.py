"""Torch modules as networks: every layer that has an op, with all its parameters, and a sentence for what has none."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import refnn
from refnn.implementations.torch_modules import LAYERS
from refnn.networks.network import Network, Node
from refnn.witnesses import torch as witness

# Each layer with everything that it can say, and the shapes of its inputs; "3 classes" for targets.
MADE: list[tuple[nn.Module, Any, dict[str, Any]]] = [
    (nn.Linear(5, 3), (2, 5), {}),
    (nn.Linear(5, 3, bias=False), (2, 5), {}),
    (nn.Conv1d(2, 4, 3, stride=2, padding=1, dilation=2, groups=2), (2, 2, 9), {"stride": 2, "padding": 1}),
    (nn.Conv2d(2, 4, (2, 3), (1, 2), (1, 0), (2, 1), bias=False), (1, 2, 6, 7), {"stride": (1, 2), "padding": (1, 0)}),
    (nn.Conv2d(1, 2, (3, 5), padding="same"), (1, 1, 4, 4), {"padding": "same"}),
    (nn.Conv3d(1, 2, 2, padding=1), (1, 1, 2, 3, 4), {"padding": 1}),
    (nn.ConvTranspose1d(2, 4, 3, stride=2, output_padding=1, groups=2), (1, 2, 4), {"stride": 2, "output_padding": 1}),
    (nn.ConvTranspose2d(2, 1, (3, 2), (2, 1), (1, 0), dilation=(1, 2)), (1, 2, 3, 3), {"dilation": (1, 2)}),
    (nn.ConvTranspose3d(1, 1, 2), (1, 1, 2, 2, 2), {}),
    (nn.MaxPool1d(3, 2, padding=1, ceil_mode=True), (1, 2, 8), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    (
        nn.MaxPool2d((2, 3), dilation=(2, 1)),
        (1, 1, 6, 6),
        {"kernel_size": (2, 3), "dilation": (2, 1)},
    ),
    (nn.MaxPool3d(2), (1, 1, 2, 4, 4), {"kernel_size": 2}),
    (nn.AvgPool1d(2), (1, 2, 5), {"kernel_size": 2}),
    (nn.AvgPool2d(3, 2, 1, True, False), (1, 1, 6, 6), {"padding": 1, "ceil_mode": True, "count_include_pad": False}),
    (nn.AvgPool2d(2, divisor_override=3), (1, 1, 4, 4), {"divisor_override": 3}),
    (nn.AvgPool3d((1, 2, 2)), (1, 1, 2, 4, 4), {"kernel_size": (1, 2, 2)}),
    (nn.Flatten(2), (2, 3, 2, 2), {"start": 2}),
    (nn.Flatten(), (2, 3, 2, 2), {}),
    (nn.ReLU(inplace=True), (3, 4), {}),
    (nn.ReLU6(), (3, 4), {}),
    (nn.LeakyReLU(-0.5), (3, 4), {"negative_slope": -0.5}),
    (nn.PReLU(4, init=0.5), (3, 4), {}),
    (nn.RReLU(0.25, 0.5), (3, 4), {"negative_slope": 0.375}),
    (nn.ELU(0.5), (3, 4), {"alpha": 0.5}),
    (nn.CELU(2.0), (3, 4), {"alpha": 2.0}),
    (nn.SELU(), (3, 4), {}),
    (nn.GELU("tanh"), (3, 4), {"approximate": "tanh"}),
    (nn.SiLU(), (3, 4), {}),
    (nn.Mish(), (3, 4), {}),
    (nn.Sigmoid(), (3, 4), {}),
    (nn.LogSigmoid(), (3, 4), {}),
    (nn.Tanh(), (3, 4), {}),
    (nn.Tanhshrink(), (3, 4), {}),
    (nn.Hardtanh(-0.5, 0.75), (3, 4), {"min_val": -0.5, "max_val": 0.75}),
    (nn.Hardsigmoid(), (3, 4), {}),
    (nn.Hardswish(), (3, 4), {}),
    (nn.Hardshrink(0.25), (3, 4), {"lambd": 0.25}),
    (nn.Softshrink(0.25), (3, 4), {"lambd": 0.25}),
    (nn.Softsign(), (3, 4), {}),
    (nn.Softplus(2.0, 0.5), (3, 4), {"beta": 2.0, "threshold": 0.5}),
    (nn.Threshold(0.25, -3.0), (3, 4), {"threshold": 0.25, "value": -3.0}),
    (nn.GLU(1), (3, 4), {"axis": 1}),
    (nn.LayerNorm((2, 2)), (3, 2, 2), {"normalized_shape": (2, 2)}),
    (nn.LayerNorm(4, 0.25, bias=False), (3, 4), {"normalized_shape": (4,), "eps": 0.25}),
    (nn.RMSNorm(4, 1e-6), (3, 4), {"normalized_shape": (4,), "eps": 1e-6}),
    (nn.Softmax(0), (3, 4), {"axis": 0}),
    (nn.LogSoftmax(1), (3, 4), {"axis": 1}),
    (nn.CrossEntropyLoss(ignore_index=1, reduction="sum", label_smoothing=0.25), ((4, 3), "3 classes"), {}),
    (nn.NLLLoss(ignore_index=2), ((4, 3, 2), "3 classes"), {"ignore_index": 2}),
    (nn.MSELoss(reduction="none"), ((4, 3), (4, 3)), {"reduction": "none"}),
    (nn.L1Loss(), ((4, 3), (4, 3)), {}),
    (nn.SmoothL1Loss(beta=0.25), ((4, 3), (4, 3)), {"beta": 0.25}),
    (nn.BCEWithLogitsLoss(reduction="sum"), ((4, 3), (4, 3)), {"reduction": "sum"}),
]


class Alone(nn.Module):
    """One layer by its name, after a linear one, so that a gradient comes out; it takes targets beside."""

    def __init__(self, layer: nn.Module, features: int) -> None:
        super().__init__()
        self.first, self.layer = nn.Linear(features, features), layer

    def forward(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.layer(self.first(x), target)


def _case(shapes: Any) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(7)
    shapes = shapes if isinstance(shapes[0], tuple) else (shapes,)
    x, *targets = (shapes[0], *(s for s in shapes[1:]))
    drawn = [rng.normal(size=x).astype(np.float32)]
    for t in targets:
        classes = (x[0], *x[2:])
        drawn.append(rng.integers(0, 3, classes) if t == "3 classes" else rng.random(t).astype(np.float32))
    return tuple(drawn)


@pytest.mark.parametrize(("layer", "shapes", "params"), MADE, ids=lambda v: type(v).__name__)
def test_a_layer_and_all_that_it_says_becomes_a_node(layer: nn.Module, shapes: Any, params: dict[str, Any]) -> None:
    """The node holds every parameter, and the layer conforms to it; a wrong parameter would not."""
    inputs = _case(shapes)
    features = inputs[0].shape[-1]
    module: nn.Module
    if len(inputs) == 2:
        module = Alone(layer, features)
    else:
        module = nn.Sequential(OrderedDict(first=nn.Linear(features, features), layer=layer))
    module.eval()
    net = Network.from_torch(module)
    node = net.nodes[-1]
    assert node.op == ("leaky_relu" if isinstance(layer, nn.RReLU) else LAYERS[type(layer)])
    assert node.params.items() >= params.items()
    report = refnn.check(net, module, framework="torch", inputs=inputs, accept=("explained",))
    assert report.ok, str(report)
    assert {r.what for r in report.results} >= {"layer", "grad[first]", "output"}
    assert set(dict(module.named_parameters())) == set(net.parameters)
    again = refnn.check(net, witness.module(net), framework="torch", inputs=inputs)
    assert again.verdict == report.verdict


def test_every_layer_that_has_an_op_is_tried() -> None:
    tried = {type(layer) for layer, *_ in MADE} | {k for k in LAYERS if "Dropout" in k.__name__}
    assert tried == set(LAYERS)
    without = {
        "locally_connected2d",
        "maxout",
        "logsumexp",
        "l2_penalty",
        "half_squared_error",
        *("add", "matmul", "mul", "sub"),
        *("abs", "cos", "exp", "expm1", "log", "log1p", "neg", "reciprocal", "rsqrt", "sign", "sin", "sqrt", "square"),
        *("asinh", "atan", "clamp", "cosh", "div", "erf", "erfc", "exp2", "log10", "log2", "sinh", "tan"),
    }  # no layer of PyTorch's
    assert set(LAYERS.values()) == set(refnn.ops) - without


class Mixed(nn.Module):
    """A forward of one's own: layers, nested ones, functions and methods."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.body = nn.Sequential(nn.Linear(8, 4), nn.Sequential(nn.Tanh(), nn.Dropout(0.25), nn.Identity()))
        self.raw = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        x = F.dropout(torch.flatten(x, 1), 0.5, self.training)
        x = F.linear(self.body(x), self.raw.weight, self.raw.bias)
        return x.relu().log_softmax(dim=1)


def test_a_module_with_a_forward_of_its_own() -> None:
    module = Mixed().eval()
    net = Network.from_torch(module, name="mixed")
    assert net.nodes == (
        Node("conv", "conv2d", ("x", "conv.weight", "conv.bias")),
        Node("relu", "relu", ("conv",)),
        Node("max_pool2d", "max_pool2d", ("relu",), {"kernel_size": 2}),
        Node("flatten", "flatten", ("max_pool2d",)),
        Node("body.0", "linear", ("flatten", "body.0.weight", "body.0.bias")),
        Node("body.1.0", "tanh", ("body.0",)),
        Node("raw", "linear", ("body.1.0", "raw.weight", "raw.bias")),
        Node("relu_1", "relu", ("raw",)),
        Node("log_softmax", "log_softmax", ("relu_1",), {"axis": 1}),
    )
    report = refnn.check(
        net, module, framework="torch", dtype="float64", inputs=(_case((3, 1, 6, 6))[0].astype(float),)
    )
    assert report.ok, str(report)
    unseen = "relu, max_pool2d, flatten, raw, relu_1, log_softmax"
    assert f"end to end only, because no layer of their names was seen: {unseen}" in report.header["notes"]
    with torch.no_grad():
        module.conv.weight += 1  # the network keeps what it was made from
    assert not np.array_equal(net.weights["module"]["conv.weight"], module.conv.weight.detach().numpy())


class Says(nn.Module):
    """A forward that is given as a function."""

    def __init__(self, forward: Any, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.says = forward

    def forward(self, x: torch.Tensor) -> Any:
        return self.says(self, x)


def _tied() -> nn.Module:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    return module


REFUSED: dict[str, tuple[Any, str]] = {
    "no module": (np.tanh, "got a ufunc, expected a torch.nn.Module"),
    "one layer": (nn.ReLU(), "got a single ReLU, expected it in a torch.nn.Sequential"),
    "no op": (nn.Sequential(nn.BatchNorm1d(3)), "there is no op for '0' (BatchNorm1d)"),
    "no function": (Says(lambda m, x: x + x), "there is no op for the function add()"),
    "no method": (Says(lambda m, x: x.view(-1)), "there is no op for the function view()"),
    "padding": (
        nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")),
        "padding_mode='circular', expected",
    ),
    "indices": (nn.Sequential(nn.MaxPool1d(2, return_indices=True)), "return_indices=True, expected False"),
    "flatten": (nn.Sequential(nn.Flatten(1, 2)), "'0' (Flatten) has end_dim=2, expected -1"),
    "dtype": (
        Says(lambda m, x: F.softmax(x, 1, dtype=torch.float64)),
        "softmax has dtype=torch.float64, expected None",
    ),
    "weights of classes": (
        Says(lambda m, x: m.loss(x, x), loss=nn.CrossEntropyLoss(torch.ones(3))),
        "'loss' (CrossEntropyLoss) has an array as weight, expected None",
    ),
    "weights of classes, as a function": (
        Says(lambda m, x: F.cross_entropy(x, x, weight=torch.ones(3))),
        "the function cross_entropy has an array as weight, expected None: the parameters of a node are",
    ),
    "residual": (Says(lambda m, x: F.relu(x) + x), "there is no op for the function add()"),
    "dim": (nn.Sequential(nn.Softmax()), "'0' (Softmax) does not say along which dim"),
    "training": (nn.Sequential(nn.Linear(2, 2), nn.Dropout()), "'1' (Dropout) is random in training mode: call eval()"),
    "random slopes": (nn.Sequential(nn.RReLU()), "'0' (RReLU) is random in training mode"),
    "functional training": (Says(lambda m, x: F.dropout(x)), "the function dropout is random in training mode"),
    "in place": (
        Says(lambda m, x: F.mse_loss(F.relu(x, inplace=True), x)),
        "overwrites a value that is used elsewhere, too",
    ),
    "in place by name": (Says(lambda m, x: x.relu_()), "there is no op for the function relu_()"),
    "unused": (Says(lambda m, x: (F.relu(x), x.tanh())[0]), "the result of 'tanh' is not used"),
    "tuple": (Says(lambda m, x: (F.relu(x), x)), "the module returns (relu, x), expected one tensor"),
    "twice": (Says(lambda m, x: m.a(m.a(x)), a=nn.Linear(2, 2)), "'a' is used twice, expected a layer for each use"),
    "tied": (_tied(), "'0.weight' and '1.weight' are one parameter, expected one for each"),
    "control flow": (Says(lambda m, x: x if x.sum() > 0 else -x), "torch.fx cannot follow the forward of the Says"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_place_in_a_network_gets_one_sentence(name: str) -> None:
    module, sentence = REFUSED[name]
    with pytest.raises(TypeError) as caught:
        Network.from_torch(module)
    assert str(caught.value).startswith("Network.from_torch: ")
    assert sentence in str(caught.value)


def test_a_layer_that_writes_into_its_input_is_seen_before_it_does() -> None:
    """What a leaky unit in place overwrites is what its gradient is judged by."""
    module = nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(-0.5, inplace=True))
    net = Network.from_torch(module)
    report = refnn.check(net, module, framework="torch", inputs=_case((3, 4)))
    assert report.ok, str(report)
    assert {r.what for r in report.results} >= {"1", "grad[0]"}
    assert not [n for n in report.header["notes"] if n.startswith("end to end only")]  # every layer was seen
    assert module[1].inplace
    module[1].negative_slope = 0.5
    assert not refnn.check(net, module, framework="torch", inputs=_case((3, 4))).ok


def test_a_layer_that_gets_its_input_by_name_is_seen_end_to_end() -> None:
    module = Says(lambda m, x: m.relu(input=m.fc(x)), fc=nn.Linear(3, 2), relu=nn.ReLU())
    net = Network.from_torch(module)
    report = refnn.check(net, module, framework="torch", inputs=_case((4, 3)))
    assert report.ok, str(report)
    assert {r.what for r in report.results} >= {"fc", "grad[fc.weight]", "output"}
    assert "end to end only, because no layer of their names was seen: relu" in report.header["notes"]


def test_shapes_are_those_of_vectors_where_that_goes_through() -> None:
    """A linear layer may come before others that take channels; then nothing is known of its input."""
    assert Network.from_torch(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))).shapes == {"x": (4,)}
    assert Network.from_torch(nn.Sequential(nn.Linear(4, 3), nn.MaxPool2d(2))).shapes == {}


def test_a_network_without_weights_is_no_module() -> None:
    net = Network([Node("fc", "linear", ("x", "fc.weight"))], name="bare")
    with pytest.raises(ValueError, match=r"bare has no weights that say what shape 'fc.weight' has"):
        witness.module(net)
