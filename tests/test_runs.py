"""Two runs of one model: the closer one is named, and a difference that rounding does not explain is told from one that
it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import refnn
from refnn.checking.runs import Run
from refnn.cli import main


def x(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Layer(nn.Module):
    """A softmax of a long product."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(x(256, 8, seed=2) / 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x @ self.weight, -1)


MODULE, GIVEN = Layer(), (x(4, 256),)


def in_turn(x: torch.Tensor) -> torch.Tensor:
    """The products added one after the other, which is less exact than what BLAS does."""
    total = torch.zeros(4, 8)
    for k in range(256):
        total = total + x[:, k : k + 1] * MODULE.weight[k]
    return torch.softmax(total, -1)


def in_double(x: torch.Tensor) -> torch.Tensor:
    return torch.softmax(x.double() @ MODULE.weight.double(), -1).float()


def in_bfloat16(x: torch.Tensor) -> torch.Tensor:
    return torch.softmax((x.bfloat16() @ MODULE.weight.bfloat16()).float(), -1)


@pytest.mark.parametrize(
    ("first", "second", "closer", "ok", "said"),
    [
        ("eager", MODULE.forward, None, True, "gave the same bits, and they conform"),
        ("eager", in_double, "in_double", True, "rounding explains the difference: both conform; in_double is closer"),
        (in_turn, "eager", "eager", True, "rounding explains the difference: both conform; eager is closer"),
        ("eager", in_bfloat16, "eager", False, "rounding does not explain in_bfloat16, which deviates"),
        (in_bfloat16, in_bfloat16, None, False, "gave the same bits, and they do not conform"),
        (lambda x: 2 * MODULE(x), in_bfloat16, "in_bfloat16", False, "rounding explains neither <lambda> nor"),
    ],
)
def test_the_closer_run_is_named(first: Any, second: Any, closer: str | None, ok: bool, said: str) -> None:
    found = refnn.compare_runs(MODULE, GIVEN, first, second)
    assert found.closer == closer and found.ok == ok and said in found.sentence, str(found)
    assert [r.what for r in found.results] == ["output", "grad[matmul.other]", "grad[x]"]


def test_errors_are_those_from_the_truth() -> None:
    """Of sums of integers, whose truth is known."""

    class Sums(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ torch.ones(3, 1)

    given = torch.arange(6.0).reshape(2, 3)
    found = refnn.compare_runs(Sums(), (given,), "eager", lambda x: x @ torch.ones(3, 1) + 0.5)
    assert found.results[0].errors == (0, 0.5) and not found.ok


def test_a_run_is_compared_with_one_that_was_saved(tmp_path: Path) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        module, given = Layer().to(dtype), (GIVEN[0].to(dtype),)
        path = tmp_path / "run.npz"
        refnn.run_model(module, given, seed=3).save(path)
        again = Run.load(path)
        assert again.results["output"].dtype.name == str(dtype).removeprefix("torch.")
        assert "gave the same bits" in refnn.compare_runs(module, given, "eager", path, seed=3).sentence
    with pytest.raises(ValueError, match=r"run.npz was given another cotangent: it is no run of the same numbers"):
        refnn.compare_runs(module, given, "eager", path, seed=4)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"run.npz holds no run: "):
        refnn.compare_runs(module, given, "eager", path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(ValueError, match=r"run.npz holds no run: it has no output"):
        refnn.compare_runs(module, given, "eager", path)


def test_a_run_that_raises_is_named() -> None:
    with pytest.raises(ValueError, match="compare_runs: of <lambda>: it raised IndexError"):
        refnn.compare_runs(MODULE, GIVEN, "eager", lambda x: x[100])


MAKE = """
import torch
def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Tanh()), (torch.randn(3, 8),)
"""


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "two_runs.py").write_text(MAKE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["compare-runs", "two_runs:make", "eager", "eager", "--save", "run.npz"]) == 0
    assert "eager and eager: eager and eager gave the same bits, and they conform" in capsys.readouterr().out
    assert main(["compare-runs", "two_runs:make", "eager", "run.npz", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] and said["closer"] is None and all(r["same"] for r in said["results"])
    saved = Run.load("run.npz")
    saved.results["output"][0, 0] += 1e-3
    saved.save("run.npz")
    assert main(["compare-runs", "two_runs:make", "eager", "run.npz"]) == 2
    assert "run.npz: violation: output[0, 0]" in capsys.readouterr().out
    assert main(["compare-runs", "two_runs:make", "eager", "missing.npz"]) == 1
    assert "missing.npz holds no run" in capsys.readouterr().err
