"""Frameworks as plugins: the record, its entry points, a toy of one's own, and those that come with refnn.

What belongs to one framework runs where its package is installed.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import abacus
import numpy as np
import pytest

import refnn
from refnn import cli, implementations
from refnn.conformance import data
from refnn.implementations.conformance import conformance
from refnn.implementations.framework import Framework

ROOT = Path(__file__).parents[1]
OTHERS = ("autograd", "jax", "onnxruntime")


def installed(name: str) -> Framework:
    """The adapter of a framework; the test is skipped where that is not installed."""
    try:
        return implementations.adapter_for(name)
    except LookupError as e:
        pytest.skip(str(e.args[0]))


# --- entry points ----------------------------------------------------------------------------------------------------


def test_the_entry_points_are_those_that_a_source_tree_knows_without_metadata() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert declared["entry-points"][implementations.GROUP] == dict(implementations.OWN)
    assert {*implementations.OWN} <= {*declared["optional-dependencies"]}


def test_frameworks_are_listed_whether_installed_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "absent": EntryPoint("absent", "nowhere_at_all:X", implementations.GROUP),
        "broken": EntryPoint("broken", "abacus:Array", implementations.GROUP),
        "missing": EntryPoint("missing", "abacus:Abacus", implementations.GROUP),
    }
    monkeypatch.setattr(implementations, "OWN", {})
    monkeypatch.setattr(implementations, "entry_points", lambda group: [*points.values()])
    found = refnn.frameworks()
    assert list(found) == ["absent", "broken", "missing"]
    assert found["absent"] == (
        "framework 'absent' is not installed (No module named 'nowhere_at_all'): pip install absent"
    )
    assert found["broken"].startswith("framework 'broken': 'abacus:Array' is a type, expected a refnn.")
    assert found["missing"].startswith("framework 'missing': loading 'abacus:Abacus' raised AttributeError: ")
    with pytest.raises(LookupError, match="unknown framework 'torch', known: absent, broken, missing"):
        refnn.check("relu", max, framework="torch")


def test_the_names_are_known_without_the_packages() -> None:
    assert {"torch", *OTHERS} <= {*implementations.known()}


# --- a framework of one's own ----------------------------------------------------------------------------------------


def example() -> str:
    """The adapter in CONTRIBUTING.md."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    return code


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> Framework:
    """The toy of tests/abacus.py through that adapter, as if a package had brought it."""
    names: dict[str, Any] = {}
    exec(example(), names)
    monkeypatch.setattr(abacus, "ABACUS", names["ABACUS"], raising=False)
    point = EntryPoint("abacus", "abacus:ABACUS", implementations.GROUP)
    monkeypatch.setattr(implementations, "entry_points", lambda group: [point])
    return names["ABACUS"]


def test_an_adapter_takes_few_lines() -> None:
    assert example().count("\n") < 60


def test_the_toy_conforms_through_its_adapter(adapter: Framework, capsys: pytest.CaptureFixture[str]) -> None:
    assert conformance(adapter) == []
    assert refnn.frameworks()["abacus"] == "3.1"
    report = refnn.check("relu", abacus.relu, framework="abacus", families=["normal"])
    assert report.ok and report.header["implementation"] == "abacus.relu, framework='abacus'"
    bounded = refnn.check("hardtanh", abacus.hardtanh, framework="abacus", families=["kinks", "normal"])
    assert bounded.ok and not bounded.unsupported  # its parameters have other names
    assert cli.main(["check", "relu", "--impl", "abacus", "--family", "normal"]) == 0
    assert "grad[x]: ok" in capsys.readouterr().out
    assert cli.main(["check", "tanh", "--impl", "abacus"]) == 1
    assert "the adapter of abacus has no 'tanh', only relu, hardtanh" in capsys.readouterr().err
    assert cli.main(["check", "women", "--impl", "abacus"]) == 1
    assert "the adapter of abacus runs ops, and 'women' is a network" in capsys.readouterr().err


def test_what_an_adapter_does_not_support_stands_apart(adapter: Framework, monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(
        adapter, dtypes=("float64",), unsupported=lambda f, c: None if c.inputs[0].ndim == 2 else "other axes"
    )
    monkeypatch.setattr(abacus, "ABACUS", few, raising=False)
    assert refnn.check("relu", abacus.relu, framework="abacus", families=["grid"]).unsupported.keys() == {
        "dtype float32"
    }
    report = refnn.check("relu", abacus.relu, framework="abacus", families=["grid"], dtype="float64")
    assert report.ok and report.unsupported.keys() == {"other axes"} and report.elements
    with pytest.raises(TypeError, match="differentiates a function twice, which the adapter of abacus cannot"):
        refnn.check("relu", abacus.relu, framework="abacus", order=2)
    with pytest.raises(TypeError, match="framework='abacus'\\) is of a network, expected an op"):
        refnn.check("women", abacus.relu, framework="abacus")


def test_a_replay_of_an_adapters_own_function_runs(adapter: Framework, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = replace(adapter, ops={"relu": lambda x: abacus.Array(np.abs(x.values), (x,), lambda g: (g,))})
    abacus.ABACUS = wrong  # type: ignore[attr-defined]
    report = refnn.check("relu", wrong.ops["relu"], framework="abacus", families=["normal"])
    assert not report.ok
    exec(next(f.replay for f in report.findings if f.verdict == "violation"), {})
    assert "violation: output" in capsys.readouterr().out


def _swapped(framework: Framework) -> Callable[..., Any]:
    def vjp(f: Any, arrays: Any, places: Any, g: Any) -> Any:
        assert framework.vjp is not None
        return [*framework.vjp(f, arrays, places, g)][::-1]

    return vjp


WRONG: dict[str, tuple[Callable[[Framework], dict[str, Any]], str]] = {
    "negative zero is lost": (lambda a: {"array": lambda x: abacus.Array(x + 0)}, "comes back as"),
    "64 bits become 32": (lambda a: {"array": lambda x: abacus.Array(x.astype("f4"))}, "a float64 array of shape"),
    "lists come back": (lambda a: {"numpy": lambda x: x.values.tolist()}, "comes back as a list"),
    "strides are ignored": (
        lambda a: {"array": lambda x: abacus.Array(np.ndarray(x.shape, x.dtype, x.copy(order="K").ravel("K")))},
        "with the order of Fortran comes back as",
    ),
    "an op that is none": (lambda a: {"ops": {"abaccus": abacus.relu}}, "ops has 'abaccus', which is no op of refnn"),
    "a spelling of nothing": (lambda a: {"spelling": {"max_value": "high"}}, "is a parameter of none of its ops"),
    "what stands for nothing": (lambda a: {"absent": {"max_value": 0}}, "absent has 'max_value', which is a parameter"),
    "an op in name only": (lambda a: {"unsupported": lambda f, case: "all"}, "relu supports none of"),
    "a function that raises": (lambda a: {"ops": {"relu": lambda x: x.nothing}}, "raised AttributeError"),
    "another shape": (
        lambda a: {"ops": {"relu": lambda x: abacus.Array(x.values[..., None])}},
        "expected float32 of shape",
    ),
    "gradients in another order": (lambda a: {"vjp": _swapped(a)}, "by the arrays at (0, 1) is"),
    "gradients of all inputs": (
        lambda a: {"vjp": lambda f, arrays, places, g: abacus.gradients(f(*arrays), arrays, g)},
        "by the arrays at (1,) returns 2 gradients",
    ),
    "a vjp that raises": (lambda a: {"vjp": lambda *args: 1 / 0}, "raised ZeroDivisionError"),
    "a model of no name": (lambda a: {"model": lambda dtype: "float33"}, "'float33' is not one of"),
    "a model of another dtype": (lambda a: {"model": lambda dtype: "float32"}, "which stores float32"),
    "a dtype of no name": (lambda a: {"dtypes": ("float32", "float33")}, "dtypes has 'float33'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_test_of_adapters_says_what_is_wrong(adapter: Framework, name: str) -> None:
    change, says = WRONG[name]
    found = conformance(replace(adapter, **change(adapter)))
    assert any(says in said for said in found), found


# --- those that come with refnn --------------------------------------------------------------------------------------

FEW = {
    "autograd": ("relu", "softplus", "conv2d"),
    "jax": ("relu", "softmax"),
    "onnxruntime": ("relu", "conv2d", "gelu"),
}


def expected(adapter: Framework) -> dict[str, str]:
    try:
        path = data("expected", f"{adapter.name}-{adapter.version}-cpu.json")
    except FileNotFoundError:
        pytest.skip(f"no findings are committed for {adapter.name} {adapter.version}")
    return dict(json.loads(path.read_text())["expected"])


@pytest.mark.parametrize(("name", "op"), [(name, op) for name, ops in FEW.items() for op in ops])
def test_a_few_ops_of_each_framework(name: str, op: str) -> None:
    adapter = installed(name)
    usual = sorted(refnn.cases(op, "float32", families=["normal"]), key=lambda c: c.elements)
    few = [c for c in usual if c.params == refnn.ops[op].defaults][3:12:4]
    report = refnn.check(op, adapter.ops[op], framework=name, inputs=few, accept=["explained"])
    assert report.ok and report.elements, str(report)
    wrong = replace(adapter, ops={op: lambda *arrays, **params: -adapter.ops[op](*arrays, **params)})
    forward, vjp = wrong.functions(refnn.ops[op], wrong.ops[op])
    assert not refnn.check(op, forward=forward, vjp=vjp, inputs=few, model=adapter.model("float32")).ok


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch", *OTHERS])
def test_the_adapter_of_each_framework(name: str) -> None:
    assert conformance(installed(name)) == []


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["autograd", "onnxruntime"])
def test_all_ops_of_each_framework(name: str) -> None:
    """Apart from what is known, with its reason."""
    adapter = installed(name)
    known = expected(adapter)
    for op, function in adapter.ops.items():
        report = refnn.check(op, function, framework=name, expected_failures=known)
        assert not report.unexpected, str(report)


def test_jax_compiles_once_for_each_shape_and_keeps_64_bits_to_itself() -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    adapter = installed("jax")
    traced = []

    def scaled(x: Any, *, negative_slope: float = 0.01) -> Any:
        traced.append(x.shape)
        return jax.nn.leaky_relu(x, negative_slope)

    forward, _ = adapter.functions(refnn.leaky_relu, scaled)
    for x in (np.ones(3), np.zeros(3), np.ones(4), np.ones(3)):
        y = forward(x, negative_slope=0.5)
        assert y.dtype == np.float64
    assert traced == [(3,), (4,)]
    forward(np.ones(3), negative_slope=0.25)
    assert traced == [(3,), (4,), (3,)]
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_model_of_jax_is_what_it_does_with_subnormal_numbers(dtype: str) -> None:
    """It flushes them in arithmetic, and hands on those that it is given; this thread is left as it was."""
    adapter = installed("jax")
    forward, _ = adapter.functions(refnn.leaky_relu, lambda x, *, negative_slope: x * np.asarray(negative_slope, dtype))
    smallest = np.array([np.finfo(dtype).smallest_normal])
    assert forward(smallest, negative_slope=0.5) == 0 and forward(smallest, negative_slope=1.0) == smallest
    assert adapter.model(dtype) == f"{dtype}-ftz"
    assert (smallest * smallest.dtype.type(0.5) != 0).all()


def test_a_node_without_a_kernel_is_not_supported() -> None:
    adapter = installed("onnxruntime")
    report = refnn.check("celu", adapter.ops["celu"], framework="onnxruntime", dtype="float64", families=["grid"])
    assert not report.elements and {*report.unsupported} == {"Celu of float64"}


@pytest.mark.parametrize("name", OTHERS)
def test_the_committed_page_has_a_reason_for_each_finding(name: str) -> None:
    (page,) = (ROOT / "conformance").glob(f"{name}-*-cpu.md")
    text = page.read_text(encoding="utf-8")
    assert "**not expected**" not in text and text.startswith(f"# What {name} ")
    assert text.count("`import refnn") >= 10
