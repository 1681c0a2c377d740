"""Functions that move numbers, in models: places are right, gradients are adjoints, and what is wrong shows."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

import refnn
from refnn.implementations.torch_composed import ADDMM, _powers
from refnn.implementations.torch_modules import Refused
from refnn.implementations.torch_moves import places
from refnn.networks.moves import Places, moving


def x(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Of(nn.Module):
    """A function of x, times numbers that differ, so that its cotangents do."""

    def __init__(self, of: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.of = of

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.of(x)
        return y * torch.arange(1.0, 1 + y.numel()).reshape(y.shape)


MASK = torch.tensor([[True, False, True], [False, False, True]])
ROWS = torch.tensor([1, 0, 1, 1])
MOVES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "view": lambda x: x.view(3, 2),
    "transposed": lambda x: x.T,
    "permute": lambda x: x.reshape(1, 2, 3).permute(2, 0, 1),
    "a slice of a transpose": lambda x: x.transpose(0, 1)[1:, ::2],
    "an index twice": lambda x: x[ROWS],
    "expand": lambda x: x[:, None].expand(2, 4, 3),
    "repeat": lambda x: x.repeat(2, 3),
    "cat": lambda x: torch.cat([x, x[:1], x], 0),
    "stack": lambda x: torch.stack([x, x], -1),
    "split": lambda x: torch.add(*x.split([1, 1])),
    "chunk, one part unused": lambda x: x.chunk(3, 1)[1],
    "unbind": lambda x: x.unbind()[1],
    "flip and roll": lambda x: x.flip(1).roll(1, 0),
    "tril": lambda x: x.tril(),
    "zeros around": lambda x: F.pad(x, (1, 2)),
    "reflected": lambda x: F.pad(x, (2, 1), mode="reflect"),
    "masked_fill": lambda x: x.masked_fill(MASK, 2.5),
    "where": lambda x: torch.where(MASK, x, 2 * x),
    "gather": lambda x: x.gather(1, torch.tensor([[0, 0, 2], [1, 1, 1]])),
    "flatten in part": lambda x: x.reshape(1, 2, 3).flatten(0, 1),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x.repeat(2, 1).reshape(1, 4, 1, 3), 2),
    "embedding": lambda x: F.embedding(torch.tensor([[1, 0], [1, 1]]), x),
    "nothing": lambda x: x[:0],
    "a function of zeros": lambda x: torch.cat([x.new_zeros(2, 1), x], 1),
}


@pytest.mark.parametrize("name", MOVES)
def test_pytorchs_moves_are_exact_forward_and_backward(name: str) -> None:
    report = refnn.check_model(Of(MOVES[name]), (x(2, 3),))
    assert report.ok and not report.unsupported, str(report)
    assert sum("grad" in r.what for r in report.results) >= 2


def test_a_move_is_a_node_of_a_network() -> None:
    net = refnn.Network.from_torch(Of(MOVES["a slice of a transpose"]), (x(2, 3),))
    assert [n.name for n in net.nodes] == ["transpose", "getitem", "reshape", "mul"]
    given = x(2, 3, seed=5).numpy()
    assert np.array_equal(net.forward(net.weights["module"], given).output, given.T[1:, ::2] * [[1], [2]])
    with pytest.raises(ValueError, match=r"x has shape \(2, 4\), expected \(2, 3\), for which it was made"):
        net.forward(net.weights["module"], np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="node 'transpose' has the op 'transpose', which is none of the catalogue"):
        net.save("nowhere")


class Broken(TorchFunctionMode):
    """A PyTorch of which one function moves float32 numbers to other places."""

    def __init__(self, name: str, by: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.named, self.by = name, by

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        y = func(*args, **(kwargs or {}))
        return self.by(y) if getattr(func, "__name__", "") == self.named and y.dtype == torch.float32 else y


@pytest.mark.parametrize(
    ("name", "function", "by"),
    [
        ("tril", "tril", lambda y: y.flip(0)),
        ("masked_fill", "masked_fill", lambda y: y + 1e-7),
        ("expand", "expand", lambda y: torch.cat([y[:, :1] * 0, y[:, 1:]], 1)),
    ],
)
def test_numbers_in_other_places_are_violations(name: str, function: str, by: Any) -> None:
    with Broken(function, by):
        report = refnn.check_model(Of(MOVES[name]), (x(2, 3),))
    assert report.first_deviation == function


class Turned(torch.autograd.Function):
    """A transposed square, whose gradient is not turned back."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.T.clone()

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return g


class Picked(torch.autograd.Function):
    """Rows that are picked, of which the gradient forgets those that were picked before."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x[ROWS]

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return torch.zeros(2, 2).index_copy(0, ROWS, g)


@pytest.mark.parametrize("function", [Turned, Picked])
def test_a_wrong_adjoint_of_ones_own_is_named(function: Any) -> None:
    report = refnn.check_model(Of(function.apply), (x(2, 2),))
    assert report.first_deviation == function.__name__
    assert {f.what for f in report.unexpected} == {f"grad[x] of {function.__name__}"}


def test_the_padding_of_an_embedding_has_no_gradient() -> None:
    table = nn.Embedding(5, 3, padding_idx=1)
    report = refnn.check_model(nn.Sequential(table, nn.Tanh()), (torch.tensor([[0, 1, 1], [4, 4, 0]]),))
    assert report.ok and "grad[0.weight] of 0" in {r.what for r in report.results}
    broken = Of(lambda w: F.embedding(torch.tensor([0, 1]), w, padding_idx=1) + w[:2] * 0)
    assert refnn.check_model(broken, (x(3, 2),)).ok
    scaled = Of(lambda w: F.embedding(torch.tensor([0, 1]), w, scale_grad_by_freq=True))
    assert any("computes, and is not judged" in why for why in refnn.check_model(scaled, (x(3, 2),)).unsupported)


def test_a_mask_that_depends_on_the_input_is_judged_and_is_no_node() -> None:
    module = Of(lambda x: x.masked_fill(x < 0, 0.0))
    assert refnn.check_model(module, (x(2, 3),)).ok
    with pytest.raises(TypeError, match="masked_fill: its places depend on the numbers of the run"):
        refnn.Network.from_torch(module, (x(2, 3),))


def test_the_mask_of_dropout_is_that_of_the_run() -> None:
    module = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.3), nn.Tanh(), nn.Dropout1d(0.5))
    report = refnn.check_model(module, (x(4, 3),))
    assert report.ok and not report.unsupported, str(report)
    with Broken("dropout", lambda y: y * 1.001):
        assert refnn.check_model(module, (x(4, 3),)).first_deviation == "1"


def _written(x: torch.Tensor) -> torch.Tensor:
    y = 2 * x
    y[0] = x[1]
    y.mul_(3)
    y[:, 1:] = 1.5
    z = torch.empty_like(y)
    z.copy_(y[0])
    z += x
    return z.relu_()


def test_what_is_written_into_a_tensor_is_seen_where_it_is_read() -> None:
    report = refnn.check_model(Of(_written), (x(2, 3),))
    assert report.ok and not report.unsupported, str(report)
    net = refnn.Network.from_torch(Of(_written), (x(2, 3),))
    given = x(2, 3, seed=5)
    assert np.array_equal(net.forward(net.weights["module"], given.numpy()).output, Of(_written)(given).numpy())


def test_what_is_written_through_a_view_is_not_judged() -> None:
    def through(x: torch.Tensor) -> torch.Tensor:
        y = torch.ones(2, 3)
        y[0].copy_(x[0])
        return y * x

    report = refnn.check_model(Of(through), (x(2, 3),))
    assert any("copy_ writes into a view, and is not judged" in why for why in report.unsupported), str(report)


def test_a_function_that_adds_up_is_no_move() -> None:
    given = x(1, 4, 4)
    with pytest.raises(Refused, match="this call of fold computes, and is not judged"):
        places(F.fold, "fold", (given, (3, 3), (2, 2)), {}, [F.fold(given, (3, 3), (2, 2))])


def test_the_adjoint_adds_up_what_was_taken() -> None:
    """Against a loop that hands each cotangent back on its own."""
    rng = np.random.default_rng(0)
    shapes = ((3, 4), (5,))
    source = rng.integers(-1, 17, (6, 7))
    silent = rng.random((6, 7)) < 0.2
    op = moving("taken", ["a", "b"], Places(shapes, source, np.full((6, 7), 9.0), silent))
    arrays = [rng.integers(-8, 8, shape).astype(float) for shape in shapes]
    g = rng.integers(-8, 8, (6, 7)).astype(float)
    both, expected = np.concatenate([a.reshape(-1) for a in arrays]), np.zeros(17)
    for place in np.ndindex(6, 7):
        if source[place] >= 0 and not silent[place]:
            expected[source[place]] += g[place]
    assert np.array_equal(op(*arrays), np.where(source < 0, 9.0, both[source]))
    grads = op.vjp(g, *arrays)
    assert np.array_equal(np.concatenate([np.asarray(v).reshape(-1) for v in grads]), expected)


# --- functions in other words ----------------------------------------------------------------------------------------

SPELLED: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "addmm": (lambda x: torch.addmm(x[0, :2], x, x[:, :2].T @ x[:, :2]), "addmm"),
    "adaptive pools": (lambda x: F.adaptive_avg_pool2d(x.repeat(2, 2).reshape(1, 3, 4, 3), (2, 1)), "avg_pool2d"),
    "a dtype that it has": (lambda x: F.softmax(x, -1, dtype=torch.float32), "softmax"),
    "a square": (lambda x: x.pow(2), "square"),
    "an inverse root": (lambda x: (x * x + 1) ** -0.5, "rsqrt"),
    "a cube": (lambda x: torch.pow(x, 3), "pow"),
    "a body in Python": (lambda x: F.gaussian_nll_loss(x, x * 0, x * x + 1), "mul"),
}


@pytest.mark.parametrize("name", SPELLED)
def test_a_function_in_other_words_is_judged(name: str) -> None:
    of, op = SPELLED[name]
    given = x(3, 3) if name != "addmm" else torch.cat([x(2, 3), x(1, 3)])[:, :2].contiguous()
    report = refnn.check_model(Of(of), (given,))
    assert report.first_deviation is None and any(r.op.endswith(f": {op}") for r in report.results), str(report)


def test_a_power_is_a_product() -> None:
    """Against integers, and named where it is none."""
    cube = _powers(3)
    assert np.array_equal(cube(np.array([2.0, -3.0])), [8, -27])
    assert np.array_equal(cube.vjp(np.array([1.0, 2.0]), np.array([2.0, -3.0]))[0], [12, 54])
    report = refnn.check_model(Of(lambda x: (x * x) ** 1.5), (x(2, 3),))
    assert any("pow is judged with the exponents 2, 0.5, -0.5, -1 and 3 to 16" in why for why in report.unsupported)


CHOICES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "max": lambda x: x.max(dim=-1).values,
    "min, kept": lambda x: torch.min(x, 0, keepdim=True)[0],
    "topk": lambda x: x.topk(2, dim=1)[0],
    "topk, in any order": lambda x: x.topk(2, dim=0, sorted=False)[0],
    "the smallest": lambda x: torch.topk(x, 2, largest=False).values,
    "sort": lambda x: x.sort(dim=0, descending=True).values,
    "ties": lambda x: (x * 0).sort()[0],
}


@pytest.mark.parametrize("name", CHOICES)
def test_what_is_chosen_by_size_is_judged(name: str) -> None:
    module = Of(CHOICES[name])
    report = refnn.check_model(module, (x(4, 5),))
    assert report.ok and not report.unsupported, str(report)
    with pytest.raises(TypeError, match="its places depend on the numbers of the run"):
        refnn.Network.from_torch(module, (x(4, 5),))


@pytest.mark.parametrize(("name", "axis"), [("max", 0), ("topk", 0), ("sort", 1)])
def test_a_wrong_choice_is_a_violation(name: str, axis: int) -> None:
    class Wrong(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(func, "__name__", "") == name:
                first = args[0].roll(1, axis)  # of another row or column
                values, indices = func(first, *args[1:], **(kwargs or {}))
                return type(func(*args, **(kwargs or {})))((values, indices))
            return func(*args, **(kwargs or {}))

    with Wrong():
        assert refnn.check_model(Of(CHOICES[name]), (x(4, 5),)).first_deviation == name


def test_the_gradient_of_addmm_is_that_of_its_definition() -> None:
    """Against products of integers, which are exact."""
    rng = np.random.default_rng(0)
    bias, a, b, g = (rng.integers(-4, 5, shape).astype(float) for shape in ((4,), (2, 3), (3, 4), (2, 4)))
    assert np.array_equal(ADDMM(bias, a, b), bias + a @ b)
    for got, expected in zip(ADDMM.vjp(g, bias, a, b), (g.sum(0), g @ b.T, a.T @ g), strict=True):
        assert np.array_equal(np.asarray(got), expected)


def test_windows_of_several_sizes_are_named() -> None:
    report = refnn.check_model(Of(lambda x: F.adaptive_avg_pool1d(x[None], 2)), (x(2, 3),))
    assert any("from (3,) to (2,) has windows of several sizes" in why for why in report.unsupported)


def test_integers_are_no_numbers_to_judge() -> None:
    def of(x: torch.Tensor) -> torch.Tensor:
        steps = torch.arange(3) + 1
        return x * (steps * 2).float()

    report = refnn.check_model(Of(of), (x(2, 3),))
    assert report.ok and not report.unsupported and {r.what for r in report.results} >= {"mul", "mul_2"}
    masked = Of(lambda x: x * (x > 0).float())
    assert refnn.check_model(masked, (x(2, 3),)).ok
    with pytest.raises(TypeError, match=r"mul: mul.other depends on the numbers of the run"):
        refnn.Network.from_torch(masked, (x(2, 3),))


def test_what_pytorch_is_known_for_is_expected() -> None:
    module = nn.Sequential(nn.Linear(4, 64), nn.Tanh())
    with torch.no_grad():
        module[0].weight.mul_(8)  # where the slope of tanh is small
    report = refnn.check_model(module, (x(8, 4),))
    assert report.ok and report.count("explained") and report.first_deviation is None
    assert all("the derivative is computed from the rounded output" in why for why in report.expected.values())
    with Broken("tanh", lambda y: y * 1.001):
        assert refnn.check_model(module, (x(8, 4),)).first_deviation == "1"


class Mixed(nn.Module):
    """A module of bfloat16 that computes a part in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.fc = nn.Embedding(3, 8), nn.Linear(8, 8)

    def forward(self, i: torch.Tensor) -> torch.Tensor:
        y = self.fc(self.table(i)).float()
        return (y * y).to(torch.bfloat16) * 3


def test_a_model_of_several_formats_is_judged_each_node_in_its_own() -> None:
    rows = torch.arange(40) % 3
    with torch.random.fork_rng():
        torch.manual_seed(0)
        report = refnn.check_model(Mixed().bfloat16(), (rows,))
        assert report.ok and not report.unsupported, str(report)
        assert report.header["dtype"] == "bfloat16, float32" and report.count("explained")
        assert {"cast", "grad[fc] of cast", "cast_2", "grad[mul] of cast_2"} <= {r.what for r in report.results}


@pytest.mark.parametrize(("to", "wrong"), [("to", "cast_2"), ("float", "cast")])
def test_a_cast_that_does_not_round_is_named(to: str, wrong: str) -> None:
    class Off(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            y = func(*args, **(kwargs or {}))
            return y * (1 + 2.0**-7) if getattr(func, "__name__", "") == to and args[0].is_floating_point() else y

    with torch.random.fork_rng(), Off():
        torch.manual_seed(0)
        assert refnn.check_model(Mixed().bfloat16(), (torch.arange(3),)).first_deviation == wrong


def test_a_watched_run_adds_up_in_the_same_order() -> None:
    """A kernel may choose its order by how an array lies in memory."""

    def of(x: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(x)[:, ::3].transpose(0, 1)
        return y @ y[:, :5].expand(5, 5)

    assert refnn.check_model(Of(of), (x(5, 15),)).first_deviation is None


# --- attention as people write it ------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Causal attention of two heads, with the views, the split and the mask of GPT."""

    SCALE, DIAGONAL = 0.5, 0

    def __init__(self) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = (z.view(b, t, 2, c // 2).transpose(1, 2) for z in self.c_attn(x).split(c, dim=2))
        scores = (q @ k.transpose(-2, -1)) * self.SCALE
        causal = torch.ones(t, t).tril(self.DIAGONAL) == 0
        y = F.softmax(scores.masked_fill(causal, float("-inf")), dim=-1) @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(b, t, c))


@pytest.mark.parametrize(
    ("changed", "verdict"), [({}, "ok"), ({"SCALE": 0.501}, "violation"), ({"DIAGONAL": 1}, "violation")]
)
def test_attention_is_graded(changed: dict[str, Any], verdict: str) -> None:
    assert refnn.check_model(Attention(), (x(2, 5, 8),)).ok
    problem = SimpleNamespace(Model=Attention, get_inputs=lambda: [torch.randn(2, 5, 8)])
    grade = refnn.grade(problem, SimpleNamespace(ModelNew=type("ModelNew", (Attention,), changed)))
    assert grade.verdict == verdict, str(grade)
