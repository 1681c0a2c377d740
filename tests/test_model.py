"""Models node by node, the networks of their runs, and grades of replacements: a planted fault is named, and what is
right is not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

import refnn
from refnn.cli import main


class Block(nn.Module):
    """A residual block of a mixer: a norm, two layers, a gate and a sum."""

    def __init__(self, act: Callable[[torch.Tensor], torch.Tensor] = torch.relu) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 16)
        self.act = act
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for p in self.parameters():
                p.data = torch.randn(p.shape) / 4

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.5 * self.down(self.act(self.up(self.norm(x))))


class Cube(torch.autograd.Function):
    """x^3, with the gradient that it has."""

    FACTOR = 3.0

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x * x * x

    @classmethod
    def backward(cls, ctx: Any, g: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return g * (cls.FACTOR * x * x)


class WrongCube(Cube):
    """With a gradient that is a third short of it."""

    FACTOR = 2.0


class Forgets(Cube):
    """With no gradient at all."""

    @classmethod
    def backward(cls, ctx: Any, g: torch.Tensor) -> Any:  # type: ignore[override]
        return None


class Through(torch.autograd.Function):
    """max(x, 0), whose gradient passes dead units, too."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return g


class Corrupted(TorchFunctionMode):
    """A PyTorch whose products with 0.5 are off by a part in a million."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        y = func(*args, **(kwargs or {}))
        return y * (1 + 2.0**-20) if getattr(func, "__name__", "") == "mul" and args[1] == 0.5 else y


def x(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- the network of a run --------------------------------------------------------------------------------------------


def test_a_run_becomes_a_network_with_its_constants_and_shared_weights() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.softmax(1 - 2.0 * (self.a(x) @ self.a.weight), dim=-1)

    module, given = Tied(), x(3, 4)
    net = refnn.Network.from_torch(module, (given,))
    assert [n.op for n in net.nodes] == ["linear", "matmul", "mul", "sub", "softmax"]
    assert net.about["torch"] == {"a.weight": "a.weight"}
    assert net.weights["module"]["mul.other"] == 2
    run = net.forward(net.weights["module"], given.numpy())
    whole = net.differentiated(["a.weight"])
    out = module(given)
    g = torch.autograd.grad(out, module.a.weight, torch.ones_like(out) * given)[0]
    arrays = [net.weights["module"][n] if n in net.parameters else given.numpy() for n in whole.inputs]
    allowed = refnn.allowance(whole, *arrays, model="float32", cotangent=given.numpy())
    truth = refnn.truth(whole, *arrays, cotangent=given.numpy())
    assert (np.abs(run.output - truth.output.value) <= allowed.output.worst).all()
    place = [*whole.inputs].index("a.weight")
    assert (np.abs(g.numpy() - truth.grads[place].value) <= allowed.grads[place].worst).all()
    with torch.no_grad():
        module.a.weight.add_(1)
    assert net.weights["module"]["a.weight"].max() < 1  # the network holds the numbers of its run


def test_all_that_has_no_op_is_named_at_once_with_its_place() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.rfft(x).abs().cumprod(1).cumsum(0)

    with pytest.raises(TypeError) as e:
        refnn.Network.from_torch(Odd(), (x(3, 4),))
    said = str(e.value)
    assert all(f"{name} ({__file__}:" in said for name in ("abs", "cumprod", "cumsum")), said
    with pytest.raises(TypeError, match="an example input is a ndarray, expected tensors"):
        refnn.Network.from_torch(Block(), (np.ones((2, 16)),))
    with pytest.raises(TypeError, match=r"got a function, expected a torch\.nn\.Module"):
        refnn.Network.from_torch(x, (x(3, 4),))


class Of(nn.Module):
    """A function of x and of one weight."""

    def __init__(self, of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.of, self.w = of, nn.Parameter(x(4, 4, seed=3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.of(x, self.w)


def _no_gradient(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        y = x @ w
    return x + y


@pytest.mark.parametrize(
    ("of", "sentence"),
    [
        (lambda x, w: F.dropout(x @ w, 0.5, training=True), "dropout: it draws random numbers"),
        (lambda x, w: x + (x @ w).detach(), "detach: no gradient flows through it"),
        (_no_gradient, "matmul: no gradient flows through it"),
        (lambda x, w: F.layer_norm(x, (4,), None, w[0]), "layer_norm: bias is given and weight is absent"),
        (lambda x, w: F.layer_norm(x, (4, 4), None, w), "layer_norm: bias is given and weight is absent"),
    ],
)
def test_what_a_network_would_get_wrong_is_refused(of: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        refnn.Network.from_torch(Of(of), (x(4, 4),))


def test_a_weight_that_is_copied_and_used_twice_is_one_parameter() -> None:
    """A use of its own that is not needed for the output does not name it."""

    def of(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        w @ w
        return (x @ w.contiguous()) * w

    net = refnn.Network.from_torch(Of(of), (x(4, 4),))
    assert net.about["torch"] == {"matmul_2.other": "w"} and net.nodes[-1].inputs == ("matmul_2", "matmul_2.other")
    problem = SimpleNamespace(Model=lambda: Of(of), get_inputs=lambda: [torch.randn(4, 4)])
    grade = refnn.grade(problem, SimpleNamespace(ModelNew=lambda: Of(of)))
    assert grade.ok and any("matmul_2.other" in r.what for r in grade.report.results), str(grade)


# --- node by node ----------------------------------------------------------------------------------------------------


def test_a_right_model_conforms_and_its_parameters_are_as_they_were() -> None:
    module = Block()
    before = {n: p.clone() for n, p in module.named_parameters()}
    report = refnn.check_model(module, (x(4, 16),))
    assert report.ok and report.first_deviation is None, str(report)
    assert [r.what for r in report.results if "grad" not in r.what] == ["norm", "up", "relu", "down", "mul", "add"]
    assert {"grad[up.weight] of up", "grad[norm.bias] of norm", "grad[x] of add"} <= {r.what for r in report.results}
    assert all(torch.equal(before[n], p) and p.grad is None for n, p in module.named_parameters())
    assert math.isclose(sum(report.budget.values()), 1)  # no claim: shares of one number
    assert report.budget["relu"] == 0  # exact, and so no source of error


def test_a_function_of_ones_own_is_judged_by_what_its_forward_calls() -> None:
    assert refnn.check_model(Block(Cube.apply), (x(4, 16),)).ok
    report = refnn.check_model(Block(WrongCube.apply), (x(4, 16),))
    assert not report.ok and report.first_deviation == "WrongCube"
    assert {f.what for f in report.unexpected} == {"grad[up] of WrongCube"}


def test_a_gradient_that_was_forgotten_is_a_gradient_of_zero() -> None:
    report = refnn.check_model(Block(Forgets.apply), (x(4, 16),))
    assert not report.ok and report.first_deviation == "Forgets"


def test_a_wrong_forward_is_named_and_what_follows_from_it_is_not() -> None:
    with Corrupted():
        report = refnn.check_model(Block(), (x(4, 16),))
    assert report.first_deviation == "mul"
    assert {f.what for f in report.unexpected if "grad" not in f.what} == {"mul"}


def test_a_loss_of_ones_own_is_part_of_the_run() -> None:
    report = refnn.check_model(Block(), (x(4, 16),), loss=lambda y: F.mse_loss(y, torch.zeros(4, 16)))
    assert report.ok and "mse_loss" in report.budget


def test_what_is_not_judged_is_said() -> None:
    class Sums(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x.cumsum(0))

    report = refnn.check_model(Sums(), (x(3, 4),))
    assert report.count("exact") and any("there is no op for cumsum" in why for why in report.unsupported)


def test_buffers_and_pytorchs_generator_are_as_they_were() -> None:
    module = nn.Sequential(nn.BatchNorm1d(4), nn.ReLU())
    with torch.random.fork_rng():
        torch.manual_seed(5)
        _as_they_were(module)


def _as_they_were(module: nn.Module) -> None:
    before, drawn = {n: b.clone() for n, b in module.named_buffers()}, torch.get_rng_state()
    report = refnn.check_model(module, (x(3, 4),))
    assert report.count("exact") and any("batch_norm" in why for why in report.unsupported)
    assert all(torch.equal(before[n], b) for n, b in module.named_buffers())
    assert torch.equal(drawn, torch.get_rng_state())


def test_a_buffer_that_each_run_changes_is_put_back_between_the_runs() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.relu(x) * self.scale
            self.scale.mul_(2)
            return y

    module = Scaled()
    assert refnn.check_model(module, (x(3, 4),)).ok and module.scale == 1


def test_a_module_that_changes_with_each_run_is_refused() -> None:
    class Counting(nn.Module):
        count = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.count += 1
            return torch.relu(x) * self.count

    with pytest.raises(RuntimeError, match="Counting gave other numbers when it was watched"):
        refnn.check_model(Counting(), (x(3, 4),))


@pytest.mark.parametrize(
    ("module", "inputs", "options", "kind", "sentence"),
    [
        (len, (x(2),), {}, TypeError, "got a builtin_function_or_method, expected a torch.nn.Module"),
        (Block(), (1.0,), {}, TypeError, "an input is a float, expected tensors"),
        (Block(), (x(2, 16),), {"autocast": "bfloat16"}, ValueError, "a mixture of dtypes is not judged yet"),
        (nn.Identity(), (x(2),), {}, ValueError, "calls no function that is an op"),
    ],
)
def test_a_wrong_call_gets_one_sentence(module: Any, inputs: Any, options: Any, kind: Any, sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        refnn.check_model(module, inputs, **options)


def test_the_budget_is_that_of_measured_runs() -> None:
    """The predicted deviation of the loss against that of 60 runs in float32, each of other numbers: within a factor of
    two, in the root of the mean of squares."""
    from refnn.checking.model import _case
    from refnn.implementations.torch_run import observe
    from refnn.models import default_model
    from refnn.models import model as find_model
    from refnn.oracle.allowance import expected_error

    rules, module = find_model(default_model("float32", "torch")), Block()
    exact = Block().double()
    predicted, measured = [], []
    for seed in range(60):
        given = x(4, 16, seed=seed + 10)
        variance = 0.0
        for ran in observe(module, (given,)).ran:
            deviation, _ = expected_error(_case("budget", ran, None).call(), rules)[0]  # type: ignore[misc]
            variance += float(np.sum(np.square(ran.cotangent.astype(np.float64) * deviation)))
        predicted.append(variance)
        with torch.no_grad():
            y = module(given)
            error = (y.double() ** 2).sum() / 2 - (exact(given.double()) ** 2).sum() / 2
        measured.append(float(error) ** 2)
    ratio = math.sqrt(sum(measured) / sum(predicted))
    assert 1 / 2 < ratio < 2, ratio


# --- grades ----------------------------------------------------------------------------------------------------------


class Model(nn.Module):
    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return torch.relu(x @ w) * 0.5


def graded(forward: Callable[..., Any], **options: Any) -> refnn.checking.grade.Grade:
    problem = SimpleNamespace(Model=Model, get_inputs=lambda: [torch.randn(8, 32), torch.randn(32, 8)])
    return refnn.grade(
        problem, SimpleNamespace(ModelNew=type("ModelNew", (nn.Module,), {"forward": forward})), **options
    )


def _kept() -> Callable[..., Any]:
    memory: list[torch.Tensor] = []

    def forward(self: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        if not memory:
            memory.append(torch.relu(x @ w) * 0.5)
        return memory[0]

    return forward


def _overwrites(self: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    y = torch.relu(x @ w) * 0.5
    with torch.no_grad():
        x.zero_()
    return y


RIGHT = {
    "another order": lambda self, x, w: torch.relu(x[:, :16] @ w[:16] + x[:, 16:] @ w[16:]) * 0.5,
    "scaled before": lambda self, x, w: (x @ (w * 0.5)).clamp(min=0),
    "of columns": lambda self, x, w: torch.relu(w.T.contiguous() @ x.T).T * 0.5,
    "in float64": lambda self, x, w: (torch.relu(x.double() @ w.double()) * 0.5).float(),
    "a sum of products": lambda self, x, w: torch.relu((x[:, :, None] * w[None]).sum(1)) / 2,
}
WRONG = {
    "a gradient of zeros": lambda self, x, w: (torch.relu(x @ w) * 0.5).detach() + 0 * (x.sum() + w.sum()),
    "no gradient": lambda self, x, w: (torch.relu(x @ w) * 0.5).detach(),
    "bfloat16 inside": lambda self, x, w: torch.relu(x.bfloat16() @ w.bfloat16()).float() * 0.5,
    "a term is missing": lambda self, x, w: torch.relu(x[:, 1:] @ w[1:]) * 0.5,
    "a factor is missing": lambda self, x, w: torch.relu(x @ w),
    "a smooth kink": lambda self, x, w: F.softplus(x @ w, beta=20.0) * 0.5,
    "a small constant": lambda self, x, w: torch.relu(x @ w + 1e-4) * 0.5,
    "independent of w": lambda self, x, w: torch.relu(x @ w.detach()) * 0.5,
    "a gradient of dead units": lambda self, x, w: Through.apply(x @ w) * 0.5,
    "float16 results": lambda self, x, w: (torch.relu(x @ w) * 0.5).half().float(),
    "another shape": lambda self, x, w: (torch.relu(x @ w) * 0.5).flatten(),
    "another dtype": lambda self, x, w: (torch.relu(x @ w) * 0.5).double(),
    "a tuple": lambda self, x, w: (torch.relu(x @ w) * 0.5,),
    "an exception": lambda self, x, w: x @ x,
    "inputs overwritten": _overwrites,
}


@pytest.mark.parametrize("what", RIGHT)
def test_a_right_replacement_is_ok(what: str) -> None:
    grade = graded(RIGHT[what])
    assert grade.ok and grade.verdict in ("ok", "exact", "convention"), str(grade)


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_replacement_is_not(what: str) -> None:
    grade = graded(WRONG[what])
    assert not grade.ok and grade.verdict in ("violation", "special", "suspect", "explained", "error"), str(grade)


def test_a_result_that_was_kept_is_seen() -> None:
    assert graded(_kept()).verdict in ("violation", "error")


def test_parameters_of_the_same_names_are_those_of_the_model() -> None:
    problem = SimpleNamespace(Model=Block, get_inputs=lambda: [torch.randn(4, 16)])

    class New(Block):
        def __init__(self) -> None:
            super().__init__()
            for p in self.parameters():
                nn.init.zeros_(p)

    grade = refnn.grade(problem, SimpleNamespace(ModelNew=New))
    assert grade.ok, str(grade)
    assert any("up.weight" in r.what for r in grade.report.results)


def test_a_problem_that_cancels_everything_is_inconclusive() -> None:
    class Cancels(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + 1e8) - 1e8

    problem = SimpleNamespace(Model=Cancels, get_inputs=lambda: [torch.randn(4, 4)])
    grade = refnn.grade(problem, SimpleNamespace(ModelNew=Cancels))
    assert grade.verdict == "inconclusive" and not grade.ok, str(grade)


def test_a_wrong_grade_call_gets_one_sentence() -> None:
    with pytest.raises(ValueError, match="float33"):
        graded(RIGHT["another order"], dtype="float33")
    problem = SimpleNamespace(Model=Model, get_inputs=lambda: [1.0])
    with pytest.raises(ValueError, match="get_inputs returns a float, expected tensors"):
        refnn.grade(problem, SimpleNamespace(ModelNew=Model))
    with pytest.raises(ValueError, match="has no ModelNew"):
        refnn.grade(SimpleNamespace(Model=Model, get_inputs=lambda: [x(2, 2), x(2, 2)]), SimpleNamespace())


FILE = """
import torch
from torch import nn
class {name}(nn.Module):
    def forward(self, x):
        return {body}
def get_inputs(): return [torch.randn(4, 4)]
"""


def test_the_commands_print_and_say_by_their_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, kind, body in (("p", "Model", "2 * x"), ("r", "ModelNew", "x + x"), ("w", "ModelNew", "x * x")):
        (tmp_path / f"{name}.py").write_text(FILE.format(name=kind, body=body))
    assert main(["grade", str(tmp_path / "p.py"), str(tmp_path / "r.py"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert main(["grade", str(tmp_path / "p.py"), str(tmp_path / "w.py")]) == 2
    assert "what any evaluation order of the definition allows" in capsys.readouterr().out
    assert main(["grade", str(tmp_path / "r.py"), str(tmp_path / "w.py")]) == 1
    assert "has no Model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("x + x if (calls := calls + 1) < 3 else time.sleep(3600)", "inputs drawn, times 16, did not end within 2 s"),
        ("ctypes.string_at(0)", "inputs given, ended the process by signal SIGSEGV"),
        ("os._exit(0)", "inputs given, ended the process with exit status 0"),
    ],
)
def test_a_replacement_that_hangs_or_crashes_is_an_error(tmp_path: Path, body: str, sentence: str) -> None:
    (tmp_path / "p.py").write_text(FILE.format(name="Model", body="2 * x"))
    head = "import ctypes, os, time\ncalls = 0\n"
    code = FILE.format(name="ModelNew", body="next(run(x))") + f"def run(x):\n    global calls\n    yield {body}\n"
    (tmp_path / "s.py").write_text(head + code)
    grade = refnn.grade(tmp_path / "p.py", tmp_path / "s.py", time_limit=2)
    assert grade.verdict == "error" and not grade.ok and sentence in grade.explanation
    assert sentence in json.loads(grade.to_json())["findings"][0]["message"]
    judged = "x + x" in body  # two sets of inputs went before, and are kept
    assert grade.report.count("exact") == (64 if judged else 0)


def test_a_limit_needs_paths_and_seconds(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="with a time_limit it takes paths, got a SimpleNamespace"):
        refnn.grade(SimpleNamespace(), "s.py", time_limit=1)
    with pytest.raises(ValueError, match="time_limit is 0, expected a number of seconds above 0"):
        refnn.grade("p.py", "s.py", time_limit=0)
