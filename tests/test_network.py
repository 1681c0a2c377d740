"""The digits network: real data, all gradients, stepwise and end to end."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from exactly import fractions

import refnn
from refnn.arithmetic.balls import Balls
from refnn.arithmetic.exact import Arb, Fractions
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.noise import Noise
from refnn.arithmetic.pairs import Pairs
from refnn.arithmetic.symbols import Symbols
from refnn.checking.check import _width_note
from refnn.formats import FORMATS
from refnn.judging.network_cases import data_item
from refnn.networks.network import Network, Node
from refnn.teaching.schedules import SCHEDULES

# What must be seen: the smallest factors on a gradient that the issue of sensitivity names.
STEPWISE = {"float32": 1e-5, "float64": 3e-14}
END_TO_END = {"float32": 3e-5, "float64": 1e-13}


def _script() -> ModuleType:
    """benchmarks/sensitivity.py, whose functions the README's table comes from."""
    path = Path(__file__).parents[1] / "benchmarks" / "sensitivity.py"
    spec = importlib.util.spec_from_file_location("sensitivity", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SENSITIVITY = _script()


@pytest.fixture(scope="module")
def net() -> Network:
    return Network.load("digits_mlp")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_conforms_on_the_digits_network(net: Network, dtype: str) -> None:
    report = refnn.check(net, SENSITIVITY.module(), framework="torch", dtype=dtype)
    assert report.ok, str(report)
    whats = {r.what for r in report.results if r.op == "digits_mlp stepwise"}
    assert whats >= {f"grad[{p}]" for p in net.parameters} | {"fc1", "relu", "fc2", "grad[relu]", "grad[fc1]"}
    assert {r.what for r in report.results if r.op == "digits_mlp end to end"} == {
        "output",
        *(f"grad[{p}]" for p in net.parameters),
    }
    assert sum("worst case end to end" in n for n in report.header["notes"]) == len(net.weights) == 2


@pytest.mark.parametrize(("share", "verdict"), [(0.5, ""), (2.0, ", too wide to say anything")])
def test_a_worst_case_wider_than_the_values_says_so(share: float, verdict: str) -> None:
    values = np.array([4.0, 0.0, -8.0, 2.0])
    results = [(values, np.abs(values) / 8), None, (values, np.abs(values) * share + 1e9 * (values == 0))]
    case: Any = SimpleNamespace(id="net/0", op=SimpleNamespace(inputs=("x", "w")))
    judge: Any = SimpleNamespace(worst=SimpleNamespace(results=results))
    assert _width_note(case, judge) == (
        f"worst case end to end of net/0: median radius 0.12 to {share:.2g} of the values, widest for w{verdict}"
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_stepwise_every_scaled_gradient_is_a_violation(net: Network, dtype: str) -> None:
    assert SENSITIVITY.caught(net, STEPWISE[dtype], dtype, part="stepwise") == set(net.parameters)
    assert SENSITIVITY.caught(net, 0.0, dtype, part="stepwise") == set()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_end_to_end_every_scaled_gradient_is_suspect(net: Network, dtype: str) -> None:
    assert SENSITIVITY.caught(net, END_TO_END[dtype], dtype, part="end to end", whole=True) == set(net.parameters)
    assert SENSITIVITY.caught(net, 0.0, dtype, part="end to end", whole=True) == set()


def test_assert_close_and_gradcheck_do_not_see_them(net: Network) -> None:
    assert SENSITIVITY.compared(net, 1e-4, "float32", equal=SENSITIVITY.close) != set(net.parameters)
    assert SENSITIVITY.gradcheck_objects(net, 1e-3, "float64", fast=True) == set()


def test_a_network_of_functions_is_checked_end_to_end(net: Network) -> None:
    def forward(params: Any, x: np.ndarray) -> np.ndarray:
        h = np.maximum(x @ params["fc1.weight"].T + params["fc1.bias"], np.float32(0))
        return h @ params["fc2.weight"].T + params["fc2.bias"]

    def vjp(g: np.ndarray, params: Any, x: np.ndarray) -> dict[str, np.ndarray]:
        a = x @ params["fc1.weight"].T + params["fc1.bias"]
        d = (g @ params["fc2.weight"]) * (a > 0)
        h = np.maximum(a, np.float32(0))
        return {"fc1.weight": d.T @ x, "fc1.bias": d.sum(0), "fc2.weight": g.T @ h, "fc2.bias": g.sum(0)}

    report = refnn.check(net, forward=forward, vjp=vjp, dtype="float32")
    assert report.ok, str(report)
    assert any("end to end only" in n for n in report.header["notes"])

    def without_mask(g: np.ndarray, params: Any, x: np.ndarray) -> dict[str, np.ndarray]:
        d = g @ params["fc2.weight"]
        return vjp(g, params, x) | {"fc1.bias": d.sum(0)}

    wrong = refnn.check(net, forward=forward, vjp=without_mask, dtype="float32")
    assert {f.what for f in wrong.findings if f.verdict == "violation"} == {"grad[fc1.bias]"}
    missing = refnn.check(net, forward=forward, vjp=lambda g, params, x: {}, dtype="float32")
    assert "no gradient for 'fc1.weight'" in missing.findings[0].message
    bare = refnn.check(net, forward=forward, vjp=lambda g, params, x: g, dtype="float32")
    assert "expected a dict of gradients" in bare.findings[0].message


def test_a_wrong_layer_is_found_stepwise_and_named(net: Network) -> None:
    """A ReLU that leaks: its own step is wrong, the linear layers after it are right on what they were given."""
    module = SENSITIVITY.module()
    module.relu = torch.nn.LeakyReLU(1e-6)
    report = refnn.check(net, module, framework="torch", dtype="float32")
    wrong = {f.what for f in report.findings if f.verdict == "violation" and f.op == "digits_mlp stepwise"}
    assert wrong == {"relu", "grad[fc1]"}


def test_the_module_gets_its_parameters_back(net: Network) -> None:
    module = SENSITIVITY.module()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    refnn.check(net, module, framework="torch", dtype="float64")
    assert all(torch.equal(v, before[k]) and v.dtype == torch.float32 for k, v in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_a_module_that_raises_is_an_error_not_an_exception(net: Network) -> None:
    def raises(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of cheese")

    broken = SENSITIVITY.module()
    broken.relu.forward = raises
    report = refnn.check(net, broken, framework="torch", dtype="float32")
    assert not report.ok
    assert all("out of cheese" in f.message for f in report.findings) and report.findings


def test_save_and_load(net: Network, tmp_path: Path) -> None:
    net.save(tmp_path / "copy")
    again = Network.load(tmp_path / "copy")
    assert (again.nodes, again.inputs, again.shapes, again.about) == (net.nodes, net.inputs, net.shapes, net.about)
    assert again.weights.keys() == net.weights.keys()
    for label, params in net.weights.items():
        assert all(np.array_equal(v, again.weights[label][k]) for k, v in params.items())


def test_a_value_of_two_uses_adds_its_cotangents() -> None:
    """x goes into both factors of a loss: d/dx of sum (x W - x V)^2 has both parts."""
    nodes = [
        Node("a", "linear", ("x", "a.weight")),
        Node("b", "linear", ("a", "b.weight")),
        Node("loss", "mse_loss", ("a", "b"), {"reduction": "sum"}),
    ]
    rng = np.random.default_rng(0)
    params = {"a.weight": rng.normal(size=(3, 2)), "b.weight": rng.normal(size=(3, 3))}
    x = rng.normal(size=(4, 2))
    two = Network(nodes)
    run = two.forward(params, x)
    grads = two.backward(run, np.ones((), run.output.dtype))
    tensors = {k: torch.tensor(v, requires_grad=True) for k, v in params.items()}
    a = torch.tensor(x) @ tensors["a.weight"].T
    loss = torch.nn.functional.mse_loss(a, a @ tensors["b.weight"].T, reduction="sum")
    loss.backward()

    def vjp(g: np.ndarray, params: Any, x: np.ndarray) -> Any:
        return {k: t.grad.numpy() for k, t in tensors.items()}

    report = refnn.check(
        two,
        forward=lambda params, x: loss.detach().numpy(),
        vjp=vjp,
        dtype="float64",
        inputs={"inputs": (x,), "params": params, "cotangent": np.ones(())},
    )
    assert report.ok, str(report)
    assert set(grads) == set(params)


BAD: dict[str, tuple[Any, str]] = {
    "no nodes": (lambda: Network([]), "has no nodes"),
    "unknown value": (lambda: Network([Node("a", "relu", ("z",))]), "uses 'z', which is not an input"),
    "twice": (lambda: Network([Node("a", "relu", ("x",)), Node("a", "relu", ("x",))]), "two values are named 'a'"),
    "unknown op": (lambda: Network([Node("a", "rely", ("x",))]), "did you mean 'relu'"),
    "name": (lambda: Network([Node("a", "relu", ("x",))], name="a b"), "is not an identifier"),
    "file": (lambda: Network.load("digit_mlp"), "no network 'digit_mlp'"),
    "parameter": (lambda: Network.load("digits_mlp").forward({}, np.zeros((1, 64))), "'fc1.weight' is missing"),
    "two dtypes": (
        lambda: Network.load("women").forward(Network.load("women").weights["trained"], np.zeros((1, 1))),
        "women takes arrays of one dtype, but x is float64, fc.weight is float32, fc.bias is float32",
    ),
    "cotangent": (
        lambda: BENT.backward(BENT.forward({"relu.x": A}, T), np.ones(2)),
        "network: the cotangent has shape (2,), expected that of the output, ()",
    ),
    "cotangent of another dtype": (
        lambda: BENT.backward(BENT.forward({"relu.x": A}, T), np.ones((), np.float32)),
        "network: the cotangent has dtype float32, expected that of the output, float64",
    ),
    "no weights": (
        lambda: refnn.check(Network([Node("a", "relu", ("x",))]), forward=lambda p, x: x),
        "pass inputs=",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_networks_get_one_sentence(name: str) -> None:
    make, sentence = BAD[name]
    with pytest.raises((ValueError, TypeError, LookupError, OSError)) as caught:
        make()
    assert sentence in str(caught.value)


# What does not go together at a node -> the sentence that names it.
UNMET: dict[str, tuple[dict[str, Any], str]] = {
    "input": (
        {"x": (5, 1, 8, 10)},
        "small: at fc = linear(flatten, fc.weight, fc.bias): x has shape (5, 24) and weight (3, 18), expected x to end "
        "in 18, as weight does",
    ),
    "channels": (
        {"x": (5, 2, 8, 8)},
        "small: at conv = conv2d(x, conv.weight): weight has shape (2, 1, 3, 3) and x has 2 channels in 1 groups, "
        "expected weight to have 2 on axis 1",
    ),
    "rank": ({"x": (5, 64)}, "small: at conv = conv2d(x, conv.weight): x has shape (5, 64), expected (N, C, H, W)"),
    "layer": (
        {"fc.weight": (3, 72)},
        "small: at fc = linear(flatten, fc.weight, fc.bias): x has shape (5, 18) and weight (3, 72)",
    ),
    "bias": (
        {"fc.bias": (4,)},
        "small: at fc = linear(flatten, fc.weight, fc.bias): bias has shape (4,), expected (3,)",
    ),
    "no window": ({"x": (5, 1, 3, 3)}, "small: at pool = max_pool2d(relu): no window fits: x has shape (5, 2, 1, 1)"),
    "label": (
        {"labels": np.array([0, 1, 2, 3, 0])},
        "small: at loss = cross_entropy(fc, labels): target holds the class 3, expected 0 to 2",
    ),
    "labels": (
        {"labels": np.array([0, 1])},
        "small: at loss = cross_entropy(fc, labels): target has shape (2,), expected (5,): input without its classes",
    ),
}
SMALL = Network(
    [
        Node("conv", "conv2d", ("x", "conv.weight")),
        Node("relu", "relu", ("conv",)),
        Node("pool", "max_pool2d", ("relu",), {"kernel_size": 2, "stride": 2}),
        Node("flatten", "flatten", ("pool",)),
        Node("fc", "linear", ("flatten", "fc.weight", "fc.bias")),
        Node("loss", "cross_entropy", ("fc", "labels")),
    ],
    name="small",
    inputs=("x", "labels"),
)
SMALL_SHAPES = {
    "x": (5, 1, 8, 8),
    "labels": np.array([0, 1, 2, 2, 0]),
    "conv.weight": (2, 1, 3, 3),
    "fc.weight": (3, 18),
    "fc.bias": (3,),
}


def test_shapes_are_inferred_node_by_node() -> None:
    found = SMALL.infer(SMALL_SHAPES)
    made = [found[n.name] for n in SMALL.nodes]
    assert made == [(5, 2, 6, 6), (5, 2, 6, 6), (5, 2, 3, 3), (5, 18), (5, 3), ()]
    arrays = {n: np.ones(v, np.float32) if isinstance(v, tuple) else v for n, v in SMALL_SHAPES.items()}
    run = SMALL.forward(arrays, arrays["x"], arrays["labels"])
    assert found == {n: v.shape for n, v in run.values.items()}


@pytest.mark.parametrize("name", UNMET)
def test_layers_that_do_not_meet_are_named_with_both_shapes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From shapes; and from arrays, before anything is computed."""
    changed, sentence = UNMET[name]
    values = {**SMALL_SHAPES, **changed}
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        SMALL.infer(values)
    assert "\n" not in str(caught.value)
    arrays = {n: np.ones(v, np.float32) if isinstance(v, tuple) else v for n, v in values.items()}
    monkeypatch.setattr(Network, "_forward", lambda *_: pytest.fail("something is computed"))
    with pytest.raises(ValueError, match=re.escape(sentence)):
        SMALL.forward(arrays, arrays["x"], arrays["labels"])


@pytest.mark.parametrize("name", ["layer", "bias", "kernel"])
def test_weights_that_do_not_meet_are_refused_with_the_network(name: str) -> None:
    """Before anything goes forward; of the nodes whose inputs have a known shape."""
    changed, sentence = {**UNMET, "kernel": ({"conv.weight": (2, 3, 3, 3)}, "expected weight to have 1 on axis 1")}[
        name
    ]
    shapes = {n: v for n, v in {**SMALL_SHAPES, **changed}.items() if n in SMALL.parameters}
    weights = {"trained": {n: np.ones(v, np.float32) for n, v in shapes.items()}}
    sentence = re.escape(sentence.replace("(5, ", "(1, ")) + r".* \(in the weights 'trained'\)$"
    with pytest.raises(ValueError, match=sentence):
        Network(SMALL.nodes, name="small", inputs=SMALL.inputs, weights=weights, shapes={"x": (1, 8, 8)})
    assert Network(SMALL.nodes, inputs=SMALL.inputs, weights=weights).weights["trained"].keys() == shapes.keys()


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        ({"y": (4,)}, "network: shapes has 'y', expected some of x"),
        ({"x": 4}, "network: the shape of 'x' is 4, expected a tuple of lengths"),
        ({"x": (4, 0)}, "network: the shape of 'x' is (4, 0), expected a tuple of lengths"),
        ({"x": (4.0,)}, "network: the shape of 'x' is (4.0,), expected a tuple of lengths"),
    ],
)
def test_shapes_that_are_none_get_one_sentence(shapes: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        Network([Node("relu", "relu", ("x",))], shapes=shapes)


def test_what_is_made_from_nothing_has_no_shape() -> None:
    assert SMALL.infer({n: v for n, v in SMALL_SHAPES.items() if n != "fc.weight"}).keys() == {
        *SMALL_SHAPES.keys() - {"fc.weight"}, "conv", "relu", "pool", "flatten",
    }  # fmt: skip


def test_classes_are_looked_at_every_time_though_shapes_are_known() -> None:
    arrays = {n: np.ones(v, np.float32) if isinstance(v, tuple) else v for n, v in SMALL_SHAPES.items()}
    SMALL.forward(arrays, arrays["x"], np.array([0, 1, 2, 2, 0]))
    with pytest.raises(ValueError, match="target holds the class -1, expected 0 to 2"):
        SMALL.forward(arrays, arrays["x"], np.array([0, 1, 2, -1, 0]))


def test_a_parameter_that_an_op_does_not_have_is_named_with_its_node() -> None:
    net = Network([Node("pool", "max_pool2d", ("x",), {"kernel": 2})])
    with pytest.raises(TypeError, match=r"at pool = .*: max_pool2d has no parameter 'kernel'"):
        net.infer({"x": (1, 1, 4, 4)})


def test_a_class_of_a_node_is_a_class_of_the_network() -> None:
    """The textbook gradient of tanh is explained stepwise and end to end, or accepted where it is asked for."""
    layers = [("fc", torch.nn.Linear(3, 4)), ("act", torch.nn.Tanh())]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.nn.init.normal_(layers[0][1].weight, std=4)
    module = torch.nn.Sequential(OrderedDict(layers))
    net = Network.from_torch(module)
    assert list(net.op.algorithms) == list(refnn.tanh.algorithms)
    report = refnn.check(net, module, framework="torch", dtype="float32")
    assert {f.name for f in report.findings} == {"textbook"}
    assert refnn.check(net, module, framework="torch", dtype="float32", algorithm="textbook").ok
    with pytest.raises(ValueError, match="where=, supports=, families=, profile= and thorough= are of"):
        refnn.check(net, module, framework="torch", families=["normal"])


def test_near_a_kink_both_sides_are_ok_and_the_report_says_so() -> None:
    """1 + 2**-23 - 1 may round to zero in some order, so either derivative of ReLU is inside the worst case."""
    net = Network([Node("fc", "linear", ("x", "fc.weight")), Node("relu", "relu", ("fc",))])
    params = {"fc.weight": np.array([[1 + 2.0**-23, -1.0]], np.float32)}
    item = {"inputs": (np.ones((1, 2), np.float32),), "params": params, "cotangent": np.ones((1, 1), np.float32)}

    def forward(params: Any, x: np.ndarray) -> np.ndarray:
        return np.maximum(x @ params["fc.weight"].T, np.float32(0))

    for slope in (0, 1):
        report = refnn.check(
            net, forward=forward, vjp=lambda g, p, x, s=slope: {"fc.weight": np.float32(s) * x}, inputs=item
        )
        assert report.ok, str(report)
        assert any(n.startswith("near kink") for n in report.header["notes"])
    # A ball is symmetric: with the truth at 1 it reaches to 0 and to 2, so 3 is the first that is surely outside.
    assert not refnn.check(net, forward=forward, vjp=lambda g, p, x: {"fc.weight": 3 * x}, inputs=item).ok


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_whole_training_set_has_its_size(net: Network) -> None:
    assert data_item(net, FORMATS["float32"], whole=True)["inputs"][0].shape == (1438, 64)


def test_replay_lines_run_and_find_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """The lines that a report prints, taken word for word."""
    report = refnn.check("tanh", torch.tanh, framework="torch", dtype="float32", families=["large"])
    finding = next(f for f in report.findings if f.verdict == "explained")
    exec(finding.replay, {})
    printed = capsys.readouterr().out
    assert "explained [textbook]" in printed
    assert finding.case in printed
    net = Network.load("digits_mlp")
    with SENSITIVITY.scaled(module := SENSITIVITY.module(), 1e-3):
        wrong = refnn.check(net, module, framework="torch", dtype="float32")
    exec(wrong.findings[0].replay, {})
    assert "conforms" in capsys.readouterr().out


# --- kinks -----------------------------------------------------------------------------------------------------------

# a = (0, 1) and t = (-1, 1): ReLU is at its kink first, |y - t| then; the gradient is (relu'(0), abs'(0)). A parameter
# itself, because what is computed is known up to a rounding, and to lie near a kink only.
BENT = Network(
    [Node("relu", "relu", ("relu.x",)), Node("loss", "l1_loss", ("relu", "t"), {"reduction": "sum"})], inputs=("t",)
)
A, T = np.array([[0.0, 1.0]]), np.array([[-1.0, 1.0]])
ARITHMETICS: dict[str, Callable[..., Any]] = {
    "Floats": Floats,
    "Balls": functools.partial(Balls, "float64"),
    "Noise": functools.partial(Noise, "float64"),
    "Pairs": Pairs,
    "Arb": functools.partial(Arb, 128),
    "Fractions": Fractions,
    "Symbols": Symbols,
}


def pulled(ar: Any) -> Any:
    """The gradient of BENT in an arithmetic."""
    a, t = ar.array(A), ar.array(T)
    return BENT.op.vjp_definition(ar, ar.array(np.ones(())), BENT.op.forward_definition(ar, a, t), a, t)[0]


def slopes_of(names: str) -> list[float]:
    """What conventions say by their names."""
    return [{"0": 0, "1": 1, "-1": -1, "1/2": 0.5}[name.partition("=")[2]] for name in names.split(", ")]


@pytest.mark.parametrize("name", ARITHMETICS)
def test_each_node_follows_the_convention_of_its_own_op(name: str) -> None:
    """Also |y - t| half way between its slopes, though ReLU takes the one below; and every other choice."""
    assert len(BENT.op.kinks) == 9 and BENT.op.convention == {"relu": 0.0, "l1_loss": 0.5}
    for names, convention in BENT.op.kinks.items():
        ar = ARITHMETICS[name](convention=convention)
        grad = pulled(ar)
        assert ar.convention is convention
        part = {"Balls": "mid", "Noise": "mid", "Pairs": "hi"}.get(name)
        if name != "Noise" or 0.5 not in convention.values():  # it takes one of two slopes
            assert [float(v) for v in np.ravel(getattr(grad, part) if part else grad)] == slopes_of(names)


def test_a_network_at_a_kink_gives_what_its_ops_give() -> None:
    run = BENT.forward({"relu.x": A}, T)
    (by_y, _) = refnn.l1_loss.vjp(np.array(1.0), run.values["relu"], T, reduction="sum")
    assert by_y is not None and by_y.tolist() == [[1, 0]]
    assert BENT.backward(run, np.array(1.0))["relu.x"].tolist() == [[0, 0]]
    truth = refnn.truth(BENT.op, A, T, cotangent=np.array(1.0)).grads[0]
    bound = refnn.allowance(BENT.op, A, T, cotangent=np.array(1.0)).grads[0]
    assert truth is not None and bound is not None
    assert truth.value.tolist() == bound.middle.tolist() == [[0, 0]] and not bound.worst.any()


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("lift", [np.asarray, fractions], ids=["floats", "fractions"])
def test_schedules_decide_at_kinks_as_the_network_does(schedule: Any, lift: Any) -> None:
    """smooth_l1_loss with beta 0 is |y - t|, whose convention is not ReLU's."""
    nodes = [
        Node("fc", "linear", ("x", "fc.weight")),
        Node("relu", "relu", ("fc",)),
        Node("distance", "smooth_l1_loss", ("relu", "t"), {"reduction": "none", "beta": 0.0}),
    ]
    net = Network(nodes, inputs=("x", "t"))
    given = {"target": lift(0 * T - 1), "loss": "half_squared_error"}
    done = schedule(net, {"fc.weight": lift(A.T)}, lift(np.ones((1, 1))), lift(T), **given)
    assert done.grads["fc.weight"].tolist() == [[0], [0]] and done.loss == 2.5


BETWEEN = "between the one-sided derivatives"


@pytest.mark.parametrize(
    ("slopes", "named"),
    [
        ((1, -1), ("relu'(0)=1, abs'(0)=0", "relu'(0)=0, abs'(0)=-1")),
        ((0.5, 1), ("relu'(0)=1/2, abs'(0)=0", "relu'(0)=0, abs'(0)=1")),
        ((0.25, -0.75), (BETWEEN, BETWEEN)),
        ((-0.25, 1.25), (None, None)),
    ],
)
def test_a_check_of_a_network_names_the_conventions_of_all_its_ops(slopes: Any, named: tuple[Any, Any]) -> None:
    """Where not all elements agree with refnn's own choice: of all choices the first that each agrees with."""
    report = refnn.check(
        BENT,
        forward=lambda params, t: np.float64(1),
        vjp=lambda g, params, t: {"relu.x": np.array([slopes], np.float64)},
        inputs={"inputs": (T,), "params": {"relu.x": A}, "cotangent": np.array(1.0)},
        dtype="float64",
    )
    assert Counter(f.name or None for f in report.findings for _ in range(f.count)) == Counter(named)
    assert report.ok == (None not in named) and report.elements == 3
    assert {f.verdict for f in report.findings} == {"convention" if report.ok else "violation"}


@pytest.mark.parametrize(
    ("shares", "named"),
    [
        ((1, 0), ""),
        ((0, 1), "relu'(0)=0, tie=last"),
        ((0.5, 0.5), "relu'(0)=0, tie=split"),
        ((1, 1), None),
        ((0, 0), None),
        ((1.5, -0.5), None),
    ],
)
def test_ties_in_a_network_are_conventions_behind_a_relu_too(shares: tuple[float, float], named: str | None) -> None:
    """Named ones, that all elements follow, or refnn's own; the full gradient to both cells of a tie is a violation, as
    of the op."""
    net = Network(
        [Node("relu", "relu", ("relu.x",)), Node("pool", "max_pool1d", ("relu",), {"kernel_size": 2})], inputs=()
    )
    report = refnn.check(
        net,
        forward=lambda params: np.full((1, 1, 1), 3.0),
        vjp=lambda g, params: {"relu.x": np.array([[shares]], np.float64)},
        inputs={"inputs": (), "params": {"relu.x": np.full((1, 1, 2), 3.0)}, "cotangent": np.ones((1, 1, 1))},
        dtype="float64",
    )
    assert report.ok == (named is not None), str(report)
    assert {f.name or None for f in report.findings} == ({named} if named != "" else set())


@pytest.mark.parametrize(
    ("gradient", "name"),
    [
        ([0, 0, 1, 0], ""),
        ([1, 0, 1, 0], "relu'(0)=1, tie=first"),
        ([0, 0, 0, 1], "relu'(0)=0, tie=last"),
        ([0, 0, 0.5, 0.5], "relu'(0)=0, tie=split"),
        ([0, 0, 1, 1], None),
        ([0, 0, 0, 0], None),
    ],
)
def test_inputs_of_zero_leave_the_biases_exactly(gradient: list[float], name: str | None) -> None:
    """So they are on a kink and tied, and not only near it: conventions are named, and their sum is not doubted."""
    nodes = [
        Node("fc", "linear", ("x", "fc.weight", "fc.bias")),
        Node("relu", "relu", ("fc",)),
        Node("pool", "max_pool1d", ("relu",), {"kernel_size": 2}),
    ]
    params = {"fc.weight": np.ones((4, 3), np.float32), "fc.bias": np.array([0, -1, 0.5, 0.5], np.float32)}
    item = {"inputs": (np.zeros((1, 1, 3), np.float32),), "params": params, "cotangent": np.ones((1, 1, 2), np.float32)}
    grads = {"fc.weight": np.zeros((4, 3), np.float32), "fc.bias": np.array(gradient, np.float32)}
    output = np.array([[[0, 0.5]]], np.float32)
    report = refnn.check(Network(nodes), forward=lambda *_: output, vjp=lambda *_: grads, inputs=item)
    found = {f.name for f in report.findings if f.verdict == "convention"}
    assert report.ok == (name is not None) and found == ({name} if name else set()), str(report)
