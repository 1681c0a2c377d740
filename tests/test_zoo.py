"""The fixture networks: their data, their layers written in PyTorch, what they achieve, and PyTorch on each of them."""

from __future__ import annotations

import itertools
import json
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
import torch
from torch import nn

import refnn
from refnn import cli
from refnn.conformance import data
from refnn.implementations import adapter_for
from refnn.networks import datasets, train, zoo
from refnn.networks.account import fields
from refnn.networks.network import Network, fixtures
from refnn.teaching import regression
from refnn.witnesses import torch as witness

# The fixtures as PyTorch's own layers.
WRITTEN: dict[str, OrderedDict[str, nn.Module]] = {
    "digits_mlp": OrderedDict(fc1=nn.Linear(64, 32), relu=nn.ReLU(), fc2=nn.Linear(32, 10)),
    "digits_odd": OrderedDict(fc1=nn.Linear(64, 16), tanh=nn.Tanh(), fc2=nn.Linear(16, 1)),
    "digits_cnn": OrderedDict(
        conv1=nn.Conv2d(1, 8, 3, padding=1), relu1=nn.ReLU(), conv2=nn.Conv2d(8, 16, 3, padding=1), relu2=nn.ReLU(),
        pool=nn.MaxPool2d(2), flatten=nn.Flatten(), fc=nn.Linear(256, 10),
    ),
    "digits_allconv": OrderedDict(
        conv1=nn.Conv2d(1, 8, 3, padding=1), relu1=nn.ReLU(), conv2=nn.Conv2d(8, 16, 3, padding=1), relu2=nn.ReLU(),
        stride=nn.Conv2d(16, 16, 2, stride=2), relu3=nn.ReLU(), classes=nn.Conv2d(16, 10, 4), flatten=nn.Flatten(),
    ),
    "digits_segments": OrderedDict(
        conv1=nn.Conv2d(1, 8, 3, padding=1), relu1=nn.ReLU(), down=nn.Conv2d(8, 16, 2, stride=2), relu2=nn.ReLU(),
        conv2=nn.Conv2d(16, 16, 3, padding=1), relu3=nn.ReLU(), up=nn.ConvTranspose2d(16, 12, 2, stride=2),
        relu4=nn.ReLU(), classes=nn.Conv2d(12, 11, 1),
    ),
    "lenet": OrderedDict(
        conv1=nn.Conv2d(1, 6, 5), relu1=nn.ReLU(), pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(6, 16, 5), relu2=nn.ReLU(), pool2=nn.MaxPool2d(2), flatten=nn.Flatten(),
        fc1=nn.Linear(256, 120), relu3=nn.ReLU(), fc2=nn.Linear(120, 84), relu4=nn.ReLU(), fc3=nn.Linear(84, 10),
    ),
    "super_resolution": OrderedDict(
        conv1=nn.Conv2d(1, 8, 9), relu1=nn.ReLU(), conv2=nn.Conv2d(8, 4, 1), relu2=nn.ReLU(), conv3=nn.Conv2d(4, 1, 5),
    ),
    "women": OrderedDict(fc=nn.Linear(1, 1)),
    "co2_forecast": OrderedDict(
        conv1=nn.Conv1d(1, 8, 5), relu1=nn.ReLU(), conv2=nn.Conv1d(8, 8, 5), relu2=nn.ReLU(),
        pool=nn.AvgPool1d(2), flatten=nn.Flatten(), fc=nn.Linear(72, 1),
    ),
}  # fmt: skip

LOSSES = {
    "softmax": nn.functional.cross_entropy,
    "logistic": nn.functional.binary_cross_entropy_with_logits,
    "linear": lambda y, t: ((y - t) ** 2).flatten(1).sum(1).mean() / 2,
}


class Objective(nn.Module):
    """A network's layers, and the loss of its head."""

    def __init__(self, name: str) -> None:
        super().__init__()
        for label, layer in WRITTEN[name].items():
            self.add_module(label, layer)
        self.layers, self.head = list(WRITTEN[name].values()), zoo.ZOO[name].head

    def forward(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return LOSSES[self.head](x, target)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def objective(name: str) -> Network:
    """The fixture with its loss."""
    net = zoo.fixture(name)
    return train.with_loss(net, net.about["head"])


def expected() -> dict[str, str]:
    found = json.loads(data("expected", "torch-2.13.0-cpu.json").read_text())["expected"]
    return {what: why for what, why in found.items() if what.partition("/")[0] in zoo.ZOO}


# --- networks --------------------------------------------------------------------------------------------------------


def test_every_recipe_is_a_fixture_and_is_written_here() -> None:
    assert set(fixtures()) == set(zoo.ZOO) == set(WRITTEN)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_a_fixture_is_its_recipe(name: str) -> None:
    """The layers are those written here, and the initial weights come from the seed, on any machine."""
    net, fresh, layers = Network.load(name), zoo.initial(name), nn.Sequential(WRITTEN[name])
    written = Network.from_torch(layers)
    assert net.nodes == fresh.nodes == written.nodes
    shapes = {k: v.shape for k, v in written.weights["module"].items()}
    assert all({k: v.shape for k, v in params.items()} == shapes for params in net.weights.values())
    assert list(net.weights) == ["initial", "trained"][name == "lenet" :]
    stored = net.weights.get("initial", {})
    assert all(np.array_equal(v, fresh.weights["initial"][k]) for k, v in stored.items())
    assert {v.dtype for w in net.weights.values() for v in w.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", zoo.ZOO)
def test_pytorch_conforms_on_a_fixture_and_its_loss(name: str, dtype: str) -> None:
    """At initial and trained weights, every layer on what it was given, and the whole."""
    net = objective(name)
    report = refnn.check(net, Objective(name), framework="torch", dtype=dtype, expected_failures=expected())
    assert report.ok, str(report)
    stepwise = {r.what for r in report.results if r.op == f"{name} stepwise"}
    assert stepwise == {f"grad[{v}]" for n in net.nodes[:-1] for v in n.inputs} | {n.name for n in net.nodes[:-1]}
    ends = {r.what for r in report.results if r.op == f"{name} end to end"}
    assert ends == {"output", *(f"grad[{p}]" for p in net.parameters)}
    assert {r.case.split("weights=")[1].split("/")[0] for r in report.results} == {"initial", "trained"}


def test_the_report_is_of_initial_and_trained_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the network whose initial weights are not stored, too."""
    given = []
    monkeypatch.setattr("refnn.checking.check.check", lambda net, module, **options: given.append(net))
    for _, run in cli.report._subjects("*", ["float32"], 0, adapter_for("torch")):
        run()
    nets = [net for net in given if isinstance(net, Network)]
    assert {net.name for net in nets} == set(zoo.ZOO) and all(net.inputs == ("x", "target") for net in nets)
    assert all(set(net.weights) == {"initial", "trained"} for net in nets)


def test_the_witness_makes_the_same_modules() -> None:
    """What `refnn report` runs is what is written here, the loss included."""
    for name in zoo.ZOO:
        net = objective(name)
        made, wrote = witness.module(net), Objective(name)
        wrote.load_state_dict({k: torch.from_numpy(v) for k, v in next(iter(net.weights.values())).items()})
        found = datasets.load(net.about["data"])
        x, target = torch.from_numpy(found.x[:2]).float(), torch.from_numpy(found.target[:2])
        target = target.float() if target.is_floating_point() else target
        assert torch.equal(made(x, target), wrote(x, target))


@pytest.mark.parametrize("name", zoo.ZOO)
def test_what_the_file_says_is_achieved(name: str) -> None:
    """The numbers come out again, and are better than those of what has learned nothing."""
    net = Network.load(name)
    said = {k: v for k, v in net.about.items() if k not in ("data", "head", "seed")}
    assert zoo.achieved(net) == said and len(said) == 2
    found, untrained = datasets.load(net.about["data"]), Network.load(name)
    untrained.weights["trained"] = zoo.initial(name).weights["initial"]
    before, target = zoo.achieved(untrained), found.target[found.held_back]
    if net.about["head"] == "linear":
        assert said["error, held back"] < min(before["error, held back"], float(np.std(target)))
    else:
        most = np.bincount(np.ravel(target).astype(int)).max() / target.size
        assert said["accuracy, held back"] > max(before["accuracy, held back"], most)


def test_the_fixtures_are_good_at_what_they_do() -> None:
    about = {name: Network.load(name).about for name in fixtures()}
    for name in ("digits_mlp", "digits_cnn", "digits_allconv", "lenet", "digits_odd"):
        assert about[name]["accuracy, held back"] >= 0.95
    mosaics, sequence = datasets.blurred_mosaics(), datasets.carbon_dioxide()
    blurred = mosaics.x[:, :, 6:27, 6:27] - mosaics.target
    assert about["super_resolution"]["error, held back"] < np.sqrt(np.mean(blurred[mosaics.held_back] ** 2))
    unchanged = np.sqrt(np.mean(sequence.target[sequence.held_back] ** 2))  # the forecast that nothing changes
    assert about["co2_forecast"]["error, held back"] < unchanged / 4


def test_the_readme_says_what_the_files_say() -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|.*\| (accuracy|error) ([0-9.]+) \|$", text, re.M)
    assert {name for name, _, _ in rows} == set(fixtures())
    for name, what, number in rows:
        assert float(number) == Network.load(name).about[f"{what}, held back"]


def test_the_command_writes_the_same_bytes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the same machine; a name that is none gets one sentence."""
    monkeypatch.setattr(zoo, "data", lambda *parts: tmp_path.joinpath(*parts))
    written = []
    for _ in range(2):
        assert zoo.main(["women", "digits_odd"]) == 0
        written.append({p.relative_to(tmp_path): p.read_bytes() for p in sorted(tmp_path.rglob("*.*"))})
    assert written[0] == written[1] and len(written[0]) == 6
    assert Network.load(tmp_path / "networks" / "women").about == Network.load("women").about
    capsys.readouterr()
    assert zoo.main(["lenett"]) == 1
    assert (
        capsys.readouterr().err
        == f"zoo: network is 'lenett', expected one of {', '.join(map(repr, zoo.ZOO))}, did you mean 'lenet'?\n"
    )


def test_the_line_is_the_least_squares() -> None:
    """Trained to the exact solution of the normal equations, rounded to float32."""
    found, trained = datasets.women(), Network.load("women").weights["trained"]
    x, y = found.x[found.training], found.target[found.training]
    exact = regression.normal_equations(regression.with_ones(x), y[:, 0])
    learned = np.ravel([trained["fc.weight"][0], trained["fc.bias"]])
    assert learned.tolist() == [np.float32(float(v)) for v in exact]


@pytest.mark.parametrize("name", ["digits_mlp", "digits_odd", "co2_forecast"])
def test_training_again_gives_as_good_a_network(name: str) -> None:
    """BLAS may order its sums otherwise on another machine, so what is claimed of any is not the bits."""
    again, net = zoo.trained(name), Network.load(name)
    assert {"data", "head", "seed"} < set(again.about) == set(net.about)
    if "accuracy, held back" in again.about:
        assert again.about["accuracy, held back"] >= 0.95
    else:
        assert again.about["error, held back"] < 0.15
    assert not np.array_equal(again.weights["trained"]["fc1.weight" if name[0] == "d" else "fc.weight"], 0)


# --- what the sources describe ---------------------------------------------------------------------------------------


def sizes(name: str) -> dict[str, tuple[int, ...]]:
    """The shapes of all values of a network as the zoo makes it, for one sample."""
    net = zoo.initial(name)
    return net.infer({**net.weights["initial"], "x": (1, *net.shapes["x"])})


def conforms(name: str) -> None:
    """The gradients of a network's loss, as the zoo makes it, against those of the layers written here."""
    recipe, net = zoo.ZOO[name], zoo.initial(name)
    found = datasets.load(recipe.data)
    item = {"inputs": (found.x[:2], found.target[:2]), "cotangent": np.ones(())}
    whole = train.with_loss(net, recipe.head)
    report = refnn.check(whole, Objective(name), framework="torch", dtype="float64", inputs=item)
    assert report.ok, str(report)


@pytest.mark.system("S48")
def test_9_1_5_takes_33_pixels_to_21() -> None:
    """Each valid convolution takes its kernel less one: 33 - 8 - 0 - 4 (cnnmath, super-resolution)."""
    found = sizes("super_resolution")
    assert [found[v][2:] for v in ("x", "conv1", "conv2", "conv3")] == [(33, 33), (25, 25), (25, 25), (21, 21)]
    assert datasets.blurred_mosaics().target.shape[1:] == found["conv3"][1:] == (1, 21, 21)
    # Fully convolutional: an image of any size comes out smaller by 12.
    net = zoo.initial("super_resolution")
    assert net.infer({**net.weights["initial"], "x": (2, 1, 40, 17)})["conv3"] == (2, 1, 28, 5)
    conforms("super_resolution")


@pytest.mark.system("S70")
def test_a_convolution_with_a_stride_stands_where_the_pool_was() -> None:
    """The same sizes, and each cell sees the same pixels (katsaros, all-convolutional)."""
    pooled, strided = sizes("digits_cnn"), sizes("digits_allconv")
    assert strided["stride"] == pooled["pool"] == (1, 16, 4, 4)
    assert strided["flatten"] == pooled["fc"] == (1, 10)
    assert not any("pool" in n.op for n in zoo.initial("digits_allconv").nodes)

    def seen(name: str, value: str) -> np.ndarray:
        """Which pixels move which cells, where no unit is dead and a raised pixel wins its windows."""
        net = zoo.initial(name)
        positive = {k: np.abs(v) for k, v in net.weights["initial"].items()}
        images = np.ones((65, 1, 8, 8), np.float32)
        images[np.arange(1, 65), 0, *np.divmod(np.arange(64), 8)] = 1000
        cells = net.forward(positive, images).values[value]
        return (cells[1:] != cells[0]).any(1)

    found = seen("digits_allconv", "stride")
    assert np.array_equal(found, seen("digits_cnn", "pool"))
    assert found.sum(0).max() == 36  # 6x6 pixels: 3, 5 and then 6 wide
    pool, stride = (fields(zoo.initial(n))[v] for n, v in (("digits_cnn", "pool"), ("digits_allconv", "stride")))
    pixels, cells = np.arange(8)[:, None], np.arange(4)
    rows, columns = ((pixels - f.start - f.jump * cells) // f.size == 0 for f in stride)
    assert pool == stride and np.array_equal(found.reshape(8, 8, 4, 4), np.einsum("pi,qj->pqij", rows, columns))
    conforms("digits_allconv")


@pytest.mark.system("S72")
@pytest.mark.parametrize("head", train.HEADS)
def test_the_delta_of_every_head_is_its_output_less_the_target(head: str) -> None:
    """The derivative of each loss, by SymPy from its formula, is y - t; and so are the d and the y that training has
    (katsaros, output heads; challa2023 (18))."""
    a = sympy.symbols("a0:3", real=True)
    total = sum(map(sympy.exp, a))
    quarter = sympy.Rational(1, 4)
    y, t = {
        "softmax": ([sympy.exp(v) / total for v in a], [0, 0, 1]),
        "logistic": ([1 / (1 + sympy.exp(-v)) for v in a], [1, 0, quarter]),
        "linear": (list(a), [2, -1, quarter]),
    }[head]
    pairs = list(zip(y, t, strict=True))
    loss = {
        "softmax": -sum(q * sympy.log(p) for p, q in pairs),
        "logistic": -sum(q * sympy.log(p) + (1 - q) * sympy.log(1 - p) for p, q in pairs),
        "linear": sum((p - q) ** 2 for p, q in pairs) / 2,
    }[head]
    delta = [sympy.diff(loss, v) for v in a]
    assert all(sympy.simplify(d - (p - q)) == 0 for d, (p, q) in zip(delta, pairs, strict=True))

    at = np.array([[0.75, -1.5, 2.25]])
    target = np.array([2]) if head == "softmax" else np.array([t], np.float64)
    value, d = train.loss(head, at, target)
    allowed = refnn.allowance(train.HEADS[head].loss, at, target, cotangent=np.float64(1), reduction="sum")
    assert allowed.grads[0] is not None
    bounds = (float(allowed.output.worst), *allowed.grads[0].worst[0])
    given = dict(zip(a, map(sympy.Rational, at[0]), strict=True))
    for got, exact, bound in zip((float(value), *d[0]), (loss, *delta), bounds, strict=True):
        assert abs(sympy.Rational(got) - exact.subs(given)) <= bound
    output = {"softmax": "softmax", "logistic": "sigmoid"}.get(head)
    radius = np.zeros(3) if output is None else refnn.allowance(output, at).output.worst[0]
    for got, exact, bound in zip(train.HEADS[head].output(at)[0], y, radius, strict=True):
        assert abs(sympy.Rational(got) - exact.subs(given)) <= bound


@pytest.mark.system("S73")
def test_the_network_of_the_sources_learns_ten_digits_by_heart() -> None:
    """(Convolution, ReLU) twice, pool, flatten, dense, softmax: its loss falls, and ten samples are all learned
    (katsaros, a complete network; challa2023)."""
    net, found = zoo.initial("digits_cnn"), datasets.digit_images()
    assert [n.op for n in net.nodes] == ["conv2d", "relu", "conv2d", "relu", "max_pool2d", "flatten", "linear"]
    assert zoo.ZOO["digits_cnn"].head == "softmax"
    x, target = found.x[:10], found.target[:10]
    start = {k: v.astype(np.float64) for k, v in net.weights["initial"].items()}
    learned = train.train(net, start, x, target, head="softmax", rates=[0.1] * 40)
    assert not learned.stopped
    assert all(after < before for before, after in itertools.pairwise(learned.trace))
    y = train.predict(net, learned.params, x, head="softmax")
    assert y.argmax(1).tolist() == target.tolist()
    conforms("digits_cnn")


@pytest.mark.system("S74")
def test_a_sequence_that_moves_moves_the_maps_of_its_convolutions() -> None:
    """Exactly, on integers: by one step up to the pool, by two through it; what follows is no map (challa2023 (31),
    katsaros, grids of one dimension)."""
    net, rng = zoo.initial("co2_forecast"), np.random.default_rng(3)
    params = {k: rng.integers(-3, 4, v.shape).astype(float) for k, v in net.weights["initial"].items()}
    sequence = rng.integers(-9, 10, (1, 1, 28)).astype(float)
    maps = [net.forward(params, sequence[..., i : i + 26]).values for i in range(3)]
    assert [maps[0][v].shape for v in ("conv1", "relu2", "pool")] == [(1, 8, 22), (1, 8, 18), (1, 8, 9)]
    for value in ("conv1", "relu1", "conv2", "relu2"):
        for step in (1, 2):
            assert np.array_equal(maps[0][value][..., step:], maps[step][value][..., :-step])
    assert np.array_equal(maps[0]["pool"][..., 1:], maps[2]["pool"][..., :-1])
    assert not np.array_equal(maps[0]["pool"][..., 1:], maps[1]["pool"][..., :-1])
    conforms("co2_forecast")


@pytest.mark.system("S78")
def test_every_pixel_has_a_softmax_of_its_own() -> None:
    """Shares of the classes at each pixel that sum to one, and the mean of all pixels' losses, by the formula."""
    net, found = zoo.initial("digits_segments"), datasets.digit_segments()
    x, target = found.x[:2], found.target[:2]
    params = {k: v.astype(np.float64) for k, v in net.weights["initial"].items()}
    a = net.forward(params, x).output
    y = train.predict(net, params, x, head="softmax")
    assert a.shape == y.shape == (2, 11, 8, 8)
    allowed, losses = refnn.allowance("softmax", a, axis=1).output.worst, []
    for n, i, j in np.ndindex(2, 8, 8):
        powers = [mpmath.exp(mpmath.mpf(v)) for v in a[n, :, i, j]]
        shares = [p / mpmath.fsum(powers) for p in powers]
        assert all(abs(p - s) <= b for p, s, b in zip(y[n, :, i, j], shares, allowed[n, :, i, j], strict=True))
        losses.append(-mpmath.log(shares[target[n, i, j]]))
    value = train.with_loss(net, "softmax").forward(params, x, target).output
    assert (
        abs(float(value) - mpmath.fsum(losses) / len(losses))
        <= refnn.allowance("cross_entropy", a, target).output.worst
    )
    conforms("digits_segments")
