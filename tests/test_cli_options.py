"""The options of the command line and of the pytest plugin: all of `refnn.check`, refused in the same words."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import refnn
from refnn import cli
from refnn.ops import ALSO_CALLED, MADE_OF, OPS
from refnn.refusals import nearest
from refnn.report.lines import loads

pytest_plugins = ("pytester",)

PLUGIN = ("-p", "refnn.suite.pytest_plugin")

# What a parameter of `refnn.check` is called on the command line, where it is not --NAME.
SPELLED = {
    "subject": "OP",
    "implementation": "--impl",
    "forward": "--impl",
    "supports": "--without",
    "expected_failures": "--xfails",
}

FLUSHING = """
import numpy as np, refnn
def small_to_zero(y):
    y[np.abs(y) < np.finfo(y.dtype).tiny] = 0
    return y
def forward(x, axis=-1): return small_to_zero(refnn.softmax(x, axis=axis))
def vjp(g, x, axis=-1): return (small_to_zero(refnn.softmax.vjp(g, x, axis=axis)[0]),)
def identity(x): return x
def pullback(g, x): return (g,)
def textbook(g, x):
    y = np.tanh(x)
    return (g * (1 - y * y),)
impl = {"softmax": (forward, vjp)}
"""


@pytest.fixture
def flushing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current folder, whose softmax flushes subnormal numbers to zero."""
    name = f"flushing_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(FLUSHING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main([command, "--help"]) == 0
    return capsys.readouterr().out


def test_every_option_of_check_is_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    said = help_of("check", capsys)
    for name in inspect.signature(refnn.check).parameters:
        option = SPELLED.get(name, f"--{name.replace('_', '-')}")
        assert re.search(rf"(?m)^  {option}\b", said), option


def test_verify_and_pytest_have_what_has_a_meaning_for_fixtures(
    capsys: pytest.CaptureFixture[str], pytester: pytest.Pytester
) -> None:
    said = help_of("verify", capsys)
    plugin = pytester.runpytest_inprocess(*PLUGIN, "--help").stdout.str()
    for name in ("model", "algorithm", "where", "without", "profile", "accept", "xfails", "dtype", "family", "case"):
        assert f"--{name}" in said and f"--refnn-{name}" in plugin, name


WRONG = {  # of an option, a wrong value and what is said of it
    "accept": ("explaned", "accept has 'explaned', expected some of exact, ", "did you mean 'explained'?"),
    "model": ("tf23", "model 'tf23': 'tf23' is not one of float32, ", "did you mean 'tf32'?"),
    "profile": ("kernle", "unknown profile 'kernle', known: framework, kernel, teaching", ""),
    "algorithm": ("naive", "softmax has no algorithm 'naive', it declares: accurate, online", ""),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_gets_the_same_sentence_everywhere(
    name: str, capsys: pytest.CaptureFixture[str], pytester: pytest.Pytester
) -> None:
    value, *says = WRONG[name]
    options: Any = {name: value}
    with pytest.raises((LookupError, ValueError)) as e:
        refnn.check("softmax", forward=refnn.softmax, families="grid", **options)
    sentences = [str(e.value.args[0])]
    for words in (["check", "softmax", "--impl", "refnn"], ["verify", "refnn", "--ops", "softmax"]):
        assert cli.main([*words, f"--{name}", value]) == 1
        sentences.append(capsys.readouterr().err)
    words = ("--pyargs", "refnn.conformance", "--refnn-impl", "refnn", "--refnn-ops", "softmax")
    result = pytester.runpytest_inprocess(*PLUGIN, "-p", "no:xdist", *words, f"--refnn-{name}", value)
    assert result.ret == 4
    sentences.append(result.stderr.str())
    assert all(said in sentence for said in says for sentence in sentences), sentences


def test_a_text_is_one_verdict_or_one_family_and_not_its_letters() -> None:
    given: dict[str, Any] = {"forward": np.tanh, "vjp": lambda g, x: (g * (1 - np.tanh(x) ** 2),)}
    assert not refnn.check("tanh", families="near", **given).ok
    accepted = refnn.check("tanh", families="near", accept="explained", **given)
    assert accepted.ok and {r.family for r in accepted.results} == {"near"}
    assert [c.family for c in refnn.cases("relu", "float32", families="grid", where={"shape": (7,)})] == ["grid"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seed": "a"}, "seed is 'a', expected an integer from 0 on"),
        ({"seed": -1}, "seed is -1, expected"),
        ({"accept": 3}, "accept has 3, expected some of"),
        ({"families": ["normla"]}, "unknown input family 'normla', known: .*, did you mean 'normal'?"),
        ({"where": "axis=1"}, "a selection of cases is 'axis=1', expected a mapping such as"),
        ({"supports": 3}, "a selection of cases is 3, expected a mapping such as"),
        ({"expected_failures": "softmax"}, "expected_failures is 'softmax', expected a mapping"),
        ({"false_alarm": "rare"}, "false_alarm is 'rare', expected a probability"),
        ({"model": np.float32}, "model .* is not one of float32"),
    ],
)
def test_what_is_no_value_of_an_option_gets_one_sentence(options: dict[str, Any], says: str) -> None:
    with pytest.raises((LookupError, TypeError, ValueError), match=says) as e:
        refnn.check("softmax", forward=refnn.softmax, **options)
    assert "\n" not in str(e.value)


def test_the_model_says_the_dtype_where_nothing_else_does() -> None:
    grid: dict[str, Any] = {"forward": refnn.relu, "families": "grid"}
    assert refnn.check("relu", model="bfloat16", **grid).header["dtype"] == "bfloat16"
    assert refnn.check("relu", dtype=np.float64, **grid).header["dtype"] == "float64"
    with pytest.raises(ValueError, match="stores bfloat16, but the check runs in float32"):
        refnn.check("relu", model="bfloat16", dtype="float32", **grid)


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sotfmax", "unknown op 'sotfmax', did you mean 'softmax'?"),
        ("swish", "did you mean 'silu'?"),
        ("Dense", "did you mean 'linear'?"),
        ("attention", "the catalogue lacks attention and has matmul and softmax; "),
        ("sparsemax", "the catalogue lacks sparsemax and has softmax; "),
        ("nothing", "unknown op 'nothing': the catalogue lacks it; `refnn ops` lists what it has"),
    ],
)
def test_a_hint_is_near_in_meaning_or_there_is_none(name: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Attention is not flatten, and nothing is not softshrink."""
    assert cli.main(["check", name, "--impl", "refnn"]) == 1
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1 and "flatten" not in said and "softshrink" not in said


def test_a_network_has_a_name_and_what_is_no_op_is_told() -> None:
    women = refnn.Network.load("women")
    given: dict[str, Any] = {"forward": lambda params, x: women.forward(params, x).output, "dtype": "float64"}
    assert refnn.check("women", **given).header["subject"] == "women"
    with pytest.raises(AttributeError, match="no attribute 'swish', did you mean 'silu'"):
        _ = refnn.swish
    assert not hasattr(refnn, "__swish__")


def test_the_tables_of_names_lead_into_the_catalogue() -> None:
    assert set(ALSO_CALLED.values()) <= OPS.keys()
    assert {part for parts in MADE_OF.values() for part in parts} <= OPS.keys()
    assert not (ALSO_CALLED.keys() | OPS.keys()) & MADE_OF.keys()  # what is in the catalogue is not lacking


def test_a_name_that_is_less_similar_than_stated_is_no_hint() -> None:
    assert nearest("relv", ["relu"]) == "relu"  # 3 of 4 letters: 0.75
    assert nearest("attention", OPS) == nearest("batch_norm", OPS) == ""


# --- check -----------------------------------------------------------------------------------------------------------


def test_check_takes_model_families_and_accept(flushing: str, capsys: pytest.CaptureFixture[str]) -> None:
    softmax = ["check", "softmax", "--impl", f"{flushing}:impl", "--families", "limits"]
    assert cli.main(softmax) == 2
    assert "try      model='float32-ftz' (--model)" in capsys.readouterr().out
    assert cli.main([*softmax, "--model", "float32-ftz"]) == 0
    assert "input families limits" in capsys.readouterr().out
    tanh = ["check", "tanh", "--impl", "numpy:tanh", "--vjp", f"{flushing}:textbook", "--families", "near,wide"]
    assert cli.main(tanh) == 2
    assert cli.main([*tanh, "--accept", "explained"]) == 0
    assert "where explained is accepted" in capsys.readouterr().out


def test_check_takes_expected_findings_from_a_file(
    flushing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "known.txt").write_text("# of the identity\nrelu/* output violation  # it is the identity\n")
    relu = ["check", "relu", "--impl", f"{flushing}:identity", "--families", "grid", "--xfails", "known.txt"]
    assert cli.main(relu) == 0
    said = capsys.readouterr().out
    assert "apart from expected findings" in said and "as expected wrong in" in said
    (tmp_path / "known.txt").write_text("relu/*\n")
    assert cli.main(relu) == 1
    assert "known.txt, line 1: it has no reason" in capsys.readouterr().err


def test_a_replay_line_names_the_model_and_the_algorithm(flushing: str) -> None:
    report = refnn.check("relu", forward=lambda x: x, families="grid", model="tf32")
    assert "model='tf32'" in report.unexpected[0].replay


def test_check_takes_inputs_from_files(flushing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.array([[1.0, -2.0, 0.5]], np.float32)
    np.save("x.npy", x)
    np.savez("call.npz", x=x, cotangent=np.ones_like(x))
    relu = ["check", "relu", "--impl", f"{flushing}:identity", "--vjp", f"{flushing}:pullback"]
    assert cli.main([*relu, "--inputs", "x.npy"]) == 2
    assert "output[0, 1] of relu/float32/user" in capsys.readouterr().out
    assert cli.main([*relu, "--inputs", "call.npz"]) == 2
    assert "grad[x][0, 1]" in capsys.readouterr().out
    for words, says in (
        (["--inputs", "none.npy"], "cannot read 'none.npy': No such file"),
        (["--inputs", "known.txt"], "'known.txt' is no .npy, .npz or .safetensors file"),
        (["--inputs", "x.npy", "--inputs", "call.npz"], "arrays with names and arrays without"),
        (["--inputs", "x.npy", "--inputs", "x.npy"], "relu takes the arrays x, got 2 of them"),
        (["--inputs", "x.npy", "--param", "axis"], "param 'axis' is not NAME=VALUE"),
        (["--inputs", "x.npy", "--param", "axis=1"], "relu has no parameter 'axis'"),
        (["--inputs", "x.npy", "--case", "relu/x"], "--case and --inputs do not go together"),
        (["--cotangent", "x.npy"], "--cotangent is of inputs that are given"),
    ):
        assert cli.main([*relu, *words]) == 1
        said = capsys.readouterr().err
        assert says in said and said.count("\n") == 1, said


# --- verify and pytest -----------------------------------------------------------------------------------------------


def test_verify_judges_by_the_model_that_is_asked_for(flushing: str, capsys: pytest.CaptureFixture[str]) -> None:
    verify = ["verify", f"{flushing}:impl", "--ops", "softmax", "--family", "limits,special"]
    assert cli.main([*verify, "--dtype", "float32"]) == 2
    assert cli.main([*verify, "--model", "float32-ftz", "--out", "run.jsonl"]) == 0
    report = loads(Path("run.jsonl").read_text())
    assert report.header["model"] == "float32-ftz" and report.passed == report.required > 20
    assert {r.dtype for r in report.results} == {"float32"}
    assert cli.main([*verify, "--model", "float32"]) == 2
    assert "--model float32\n" in capsys.readouterr().out  # the replay line
    for words, says in (
        (["--model", "float32", "--dtype", "float64"], "model 'float32' stores float32, but the cases run in float64"),
        (["--model", "bfloat16"], "stores bfloat16, but the fixtures hold float32 and float64"),
        (["--without", "bias"], "no case of this selection is of the group 'bias', its groups: "),
        (["--where", "groups=1"], "softmax has no parameter 'groups' to select by"),
    ):
        assert cli.main([*verify, *words]) == 1
        assert says in capsys.readouterr().err


def test_the_oracle_accepts_of_the_fixtures_what_their_bounds_accept() -> None:
    """With the model of the dtype, the special values of tables included; and by another algorithm."""
    assert cli.main(["verify", "refnn", "--ops", "softmax,cross_entropy,women", "--model", "float32"]) == 0
    assert cli.main(["verify", "refnn", "--ops", "gelu,silu", "--family", "special", "--model", "float32"]) == 0
    assert cli.main(["verify", "refnn", "--ops", "softmax", "--algorithm", "online", "--family", "normal"]) == 0


def test_verify_selects_declines_and_sets_apart(flushing: str, capsys: pytest.CaptureFixture[str]) -> None:
    verify = ["verify", f"{flushing}:impl", "--ops", "softmax"]
    assert cli.main([*verify, "--where", "axis=0", "--where", "rank=2"]) == 0
    assert cli.main([*verify, "--family", "normal", "--without", "axis other than -1"]) == 0
    assert "not supported: axis other than -1" in capsys.readouterr().out
    assert cli.main([*verify, "--dtype", "float32", "--profile", "kernel"]) == 0
    assert "special values, which do not decide here: do not conform" in capsys.readouterr().out
    assert cli.main(["verify", "-", "--where", "axis=0"]) == 1
    assert "--where selects requests" in capsys.readouterr().err


def test_the_answers_of_a_program_are_judged_by_the_model_too() -> None:
    refnn_, program = f"{sys.executable} -m refnn", f"{sys.executable} {Path(__file__).parent / 'program.py'} --lines"
    asked = f"{refnn_} gen softmax --lines --dtype float32 --family limits | {program} | {refnn_} verify - --model "
    done = subprocess.run(asked + "float32-ftz --json", shell=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["header"]["model"] == "float32-ftz" and found["passed"] > 5, done.stderr
    done = subprocess.run(asked + "float64", shell=True, capture_output=True, text=True)
    assert done.returncode == 1 and "--dtype is float64, but the requests were made in float32" in done.stderr


def test_pytest_takes_the_model_and_the_selection(flushing: str, pytester: pytest.Pytester) -> None:
    def run(*words: str) -> dict[str, int]:
        given = ("--pyargs", "refnn.conformance", "--refnn-impl", f"{flushing}:impl", "--refnn-ops", "softmax")
        plugin = (*PLUGIN, "-p", "no:cacheprovider", "-p", "no:xdist")
        return pytester.runpytest_inprocess(*plugin, *given, "--refnn-family", "limits,normal", *words).parseoutcomes()

    assert run("--refnn-dtype", "float32")["failed"] > 0
    conforming = run("--refnn-model", "float32-ftz")
    assert "failed" not in conforming and conforming["passed"] > 5
    apart = run("--refnn-dtype", "float32", "--refnn-profile", "kernel")
    assert "failed" not in apart and apart["xfailed"] > 0
    declined = run("--refnn-dtype", "float32", "--refnn-without", "1-d input", "--refnn-where", "family=normal")
    assert declined["skipped"] > 0 and "failed" not in declined
