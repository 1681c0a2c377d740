"""What the command prints: help that fits a screen, JSON by its schema, colour, lines while it runs, what fits."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import refnn
from refnn import cli
from refnn.cli.app import app, tell
from refnn.report import Finding, Report, Result
from refnn.report.lines import dumps
from refnn.study.power import score
from refnn.study.power.score import Score, Tally
from refnn.wire.schema import check, schema

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
JSON = [name for name in COMMANDS if name not in ("gen", "export", "render")]  # which write files, or requests


def called(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main([*words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


# --- help ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("LINES", raising=False)


@pytest.mark.usefixtures("screen")
def test_the_help_of_all_fits_a_screen_and_cuts_no_summary(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, "--help")
    assert code == 0 and len(out.splitlines()) <= 50 and max(map(len, out.splitlines())) <= 80
    summaries = dict(re.findall(r"(?m)^  ([\w-]+) +(\S.*)$", out.partition("Commands:")[2]))
    assert summaries.keys() >= set(COMMANDS)
    assert all(summaries[name].endswith(".") and "..." not in summaries[name] for name in COMMANDS)
    assert "Example" in out


@pytest.mark.usefixtures("screen")
@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_fits_a_screen_and_has_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example stands there as one types it: its options exist."""
    code, out, _ = called(capsys, name, "--help")
    assert code == 0 and len(out.splitlines()) <= 50 and max(map(len, out.splitlines())) <= 80
    lines = re.findall(r"(?m)^    (refnn .*)$", out.partition("Example")[2])
    assert lines
    for line in lines:
        for words in (shlex.split(part) for part in line.split(" | ")):
            if words[0] == "refnn":
                said = called(capsys, words[1], "--help")[1].partition("Example")[0]
                assert all(re.search(rf"(?m)^  .*{w}\b", said) for w in words if w.startswith("--")), line


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert called(capsys, "--version") == (0, f"refnn {refnn.__version__}\n", "")


@pytest.mark.parametrize(
    ("typed", "proposed"),
    [
        ("refnn che", {"check"}),
        ("refnn check soft", {"softmax", "softplus", "softsign", "softshrink"}),
        ("refnn check softmax --model tf", {"tf32"}),
        ("refnn verify torch --accept expl", {"explained"}),
    ],
)
def test_the_shell_completes_commands_ops_and_models(typed: str, proposed: set[str]) -> None:
    words = typed.split(" ")
    env = {**os.environ, "_REFNN_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run([sys.executable, "-m", "refnn"], capture_output=True, text=True, env=env)
    assert set(done.stdout.split()) == proposed, done.stderr


# --- reports as text -------------------------------------------------------------------------------------------------


def identity_of_relu() -> Report:
    return refnn.check("relu", forward=lambda x: x, vjp=refnn.relu.vjp, families="grid")


def test_a_report_has_a_line_for_each_result_and_replays_its_findings() -> None:
    report = identity_of_relu()
    lines = str(report).splitlines()
    wrong = len({f.case for f in report.unexpected})
    assert (
        f"  output: ok in {report.cases - wrong} of {report.cases} cases, wrong in {wrong} (violation in {wrong})"
        in (lines)
    )
    assert f"  grad[x]: ok in {report.cases} of {report.cases} cases" in lines
    assert "    why      outside the worst case of every declared algorithm under the declared model" in lines
    assert any(line.startswith("    try      ") for line in lines)
    replays = [line.removeprefix("    replay   ") for line in lines if line.startswith("    replay   ")]
    assert replays[0] in {f.replay for f in report.unexpected} and len(replays) == len(set(replays))


def test_a_failed_assertion_carries_both() -> None:
    with pytest.raises(AssertionError, match=r"output: ok in \d+ of \d+ cases, wrong in") as e:
        refnn.assert_conforms("relu", forward=lambda x: x, vjp=refnn.relu.vjp, families="grid")
    assert "    replay   import refnn; print(refnn.check('relu', " in str(e.value)


def test_of_many_results_only_those_that_are_wrong_have_a_line() -> None:
    results = [
        Result(f"c{i}", "net stepwise", "float32", "digits", f"grad[w{i}]", {"ok": 2} if i else {"suspect": 1, "ok": 1})
        for i in range(12)
    ]
    text = str(Report({"subject": "net", "dtype": "float32"}, results))
    assert "  grad[w0]: wrong in 1 of 1 case (suspect in 1)\n  11 results ok in all their cases" in text


def test_what_is_out_of_scope_is_neither_ok_nor_wrong() -> None:
    results = [
        Result(f"c{i}", "a", "float32", "n", "output", {"ok": 1} if i else {"out_of_scope": 3}) for i in range(3)
    ]
    assert "  output: ok in 2 of 3 cases, out of scope in 1" in str(Report({}, results))


def test_dozens_of_notes_do_not_hide_the_findings() -> None:
    header = {"subject": "torch", "dtype": "float32, float64", "command": "refnn report"}
    report = Report({**header, "notes": [f"note {i}" for i in range(43)]}, identity_of_relu().results)
    text = str(report)
    assert text.count("  note: ") == 5 and "  38 notes more stand in the header of the report" in text
    assert text.startswith("torch in float32, float64: does not conform: ")  # and does not look like a call
    assert str(Report({"subject": "relu", "dtype": "float32"})).startswith("refnn.check('relu', dtype='float32'): ")


def test_a_result_is_wrong_where_one_of_its_findings_is_not_expected() -> None:
    place = ("c", "a", "float32", "n", "output")
    findings = [Finding(*place, v) for v in ("violation", "suspect")]
    report = Report({}, [Result(*place, {"violation": 1, "suspect": 1})], findings)
    report.expected = {"c output suspect": "known"}
    assert "  output: wrong in 1 of 1 case (violation in 1)" in str(report)
    report.expected = {"c": "known"}
    assert "  output: as expected wrong in 1 of 1 case (violation in 1)" in str(report)


@pytest.mark.parametrize(
    ("given", "header", "says"),
    [
        ({"verdict": "suspect"}, {}, "another seed="),
        ({"verdict": "explained", "name": "textbook"}, {}, "accept='explained'"),
        (
            {"verdict": "violation", "got": 0.0, "expected": 1e-40},
            {"model": "float32@glibc"},
            "model='float32-ftz@glibc'",
        ),
        ({"verdict": "violation", "got": 0.0, "expected": 1e-40}, {"model": "float32-ftz"}, "refnn explain"),
        ({"verdict": "violation", "dtype": "bfloat16"}, {"model": "bfloat16"}, "model='bfloat16-saved'"),
        ({"verdict": "special"}, {}, "profile='kernel'"),
        ({"verdict": "error", "message": "f() missing 1 required positional argument: 'dim'"}, {}, "framework='torch'"),
    ],
)
def test_what_to_try_fits_the_finding(given: dict[str, Any], header: dict[str, Any], says: str) -> None:
    finding = Finding(**{"case": "c", "op": "a", "dtype": "float32", "family": "n", "what": "output"} | given)
    result = Result("c", "a", "float32", "n", "output", {given["verdict"]: 1})
    assert says in str(Report({"subject": "a", **header}, [result], [finding]))


# --- colour, and lines while it runs ---------------------------------------------------------------------------------

ON_A_TERMINAL = """
import sys
from refnn import cli
from refnn.report import Finding, Report, Result
def part(verdict):
    findings = [Finding("a", "relu", "float32", "normal", "output", verdict, got=1.0, expected=2.0, replay="print()")]
    results = [Result("a", "relu", "float32", "normal", "output", {verdict: 1}, seconds=0.25)]
    return Report({"subject": "relu", "dtype": "float32"}, results, findings if verdict == "violation" else [])
if sys.argv[1] == "check":
    cli.check._check = lambda *args: part("violation")
    cli.check._functions = __import__("contextlib").contextmanager(lambda *args: iter([{}]))
    cli.main(["check", "relu", "--impl", "refnn"])
else:
    subjects = [("relu float32", lambda: part("ok")), ("tanh float32", lambda: part("violation"))]
    cli.report._subjects = lambda *args: subjects
    cli.main(["report", "--out", sys.argv[2]])
"""


def on_a_terminal(*words: str, **env: str) -> str:
    """What the script prints where standard output and standard error are a terminal."""
    ours, theirs = pty.openpty()
    given = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")} | {"TERM": "xterm"} | env
    with subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, *words], stdout=theirs, stderr=theirs, env=given
    ) as run:
        os.close(theirs)
        said = b""
        try:
            while more := os.read(ours, 1 << 16):
                said += more
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    assert run.returncode == 0
    return said.decode()


def test_check_speaks_in_colour_on_a_terminal_alone(tmp_path: Path) -> None:
    coloured = on_a_terminal("check")
    assert "\x1b[1;31mdoes not conform\x1b[0m" in coloured and "\x1b[31mgot      1.0\x1b[0m" in coloured
    plain = on_a_terminal("check", NO_COLOR="1")
    assert not re.search(r"\x1b\[[\d;]*3[0-9]", plain)
    words = [sys.executable, "-c", ON_A_TERMINAL, "check"]
    piped = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "\x1b" not in piped
    assert re.sub(r"\x1b\[[\d;]*m|\r", "", coloured) == piped


def test_a_pipe_gets_the_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Tabs and what looks like markup, too: a message may hold whatever an implementation says."""
    tell("a\tb [red]c[/red] \x07")
    assert capsys.readouterr().out == "a\tb [red]c[/red] \x07\n"


def test_report_prints_a_line_for_each_op_as_it_is_done(tmp_path: Path) -> None:
    said = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", on_a_terminal("report", str(tmp_path / "out")))
    first, second = (
        said.index("relu                 float32 ok"),
        said.index("tanh                 float32 1 violation"),
    )
    assert first < second < said.index("worst verdict")


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_every_command_that_prints_a_result_prints_json_by_a_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert {*JSON} == {name for name in schema("output")["$defs"] if name not in ("document", "row", "finding", "fit")}
    for name in JSON:
        assert "--json" in called(capsys, name, "--help")[1]


def printed_json(out: str, name: str) -> Any:
    """The JSON that a command printed, which the schema takes, and nothing besides."""
    found = json.loads(out, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    check(found, "output", "the output", name)
    jsonschema = pytest.importorskip("jsonschema")
    root = schema("output")
    jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": root["$defs"]}).validate(found)
    return found


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a result, the inputs that it is of, and two reports."""
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(2, 64)).astype(np.float32)
    cut = (x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
    np.save("y.npy", cut @ cut.T)
    np.save("x.npy", x)
    np.savez("call.npz", x=x, weight=x)
    module = "import torch\nclass {}(torch.nn.Module):\n    def forward(self, x): return {}\n{}"
    drawn = "get_inputs = lambda: [torch.ones(2, 3)]\nmake = lambda: (Model(), get_inputs())\n"
    Path("problem_of_json.py").write_text(module.format("Model", "torch.relu(2 * x)", drawn))
    Path("solution.py").write_text(module.format("ModelNew", "torch.relu(x + x)", ""))
    Path("before.jsonl").write_text(dumps(identity_of_relu()))
    Path("after.jsonl").write_text(dumps(identity_of_relu()))
    return tmp_path


OUTPUTS = {
    "check": ("check relu --impl refnn --families grid --dtype float32 --dtype float64", 0),
    "verify": ("verify refnn --ops tanh --family special,normal", 0),
    "explain": ("explain y.npy --op linear --inputs call.npz", 0),
    "model": ("model problem_of_json:make", 0),
    "compare-runs": ("compare-runs problem_of_json:make eager eager", 0),
    "grade": ("grade problem_of_json.py solution.py", 0),
    "compare": ("compare before.jsonl after.jsonl", 0),
    "ops": ("ops softmax", 0),
    "cases": ("cases softmax --where family=grid", 0),
    "limits": ("limits --format float16", 0),
    "doctor": ("doctor", 0),
}


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", OUTPUTS)
def test_json_is_as_the_schema_says(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, status = OUTPUTS[name]
    code, out, err = called(capsys, *words.split(), "--json")
    assert (code, err) == (status, "")
    found = printed_json(out, name)
    if name == "check":
        assert found["ok"] and [r["header"]["dtype"] for r in found["reports"]] == ["float32", "float64"]
    if name == "ops":
        assert found["ops"][0]["algorithms"][0] == "accurate" and len(found["ops"]) == 1
    if name == "cases":
        assert found["cases"] and all(c["id"].startswith("softmax/float32/grid/") for c in found["cases"])


def test_json_of_what_takes_long_is_as_the_schema_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a report, of power and of renew, on little."""
    monkeypatch.setattr("refnn.cli.report._subjects", lambda *args: [("relu float32", identity_of_relu)])
    code, out, err = called(capsys, "report", "--out", str(tmp_path / "out"), "--json")
    found = printed_json(out, "report")
    assert (code, err, found["ok"]) == (2, "", False) and len(found["written"]) == 5 and found["findings"][0]["replay"]
    monkeypatch.setattr(score, "run", lambda mutants, *_: Score(mutants, {"refnn": Tally(killed={*mutants[1:]})}))
    code, out, _ = called(capsys, "power", "--ops", "tanh", "--checker", "refnn", "--json")
    assert code == 2 and printed_json(out, "power")["checkers"]["refnn"]["killed"] > 0
    monkeypatch.setattr("refnn.study.renew.renew", lambda product, ops: ({"a.md": "changed"}, ["refnn verify x"]))
    code, out, _ = called(capsys, "renew", "support", "--json")
    assert code == 2 and printed_json(out, "renew")["products"][0]["files"] == {"a.md": "changed"}


def test_a_schema_refuses_what_it_does_not_name() -> None:
    with pytest.raises(ValueError, match="unknown field 'fit'"):
        check(
            {"command": "explain", "op": "a", "what": "output", "fits": [], "tried": [], "fit": 1},
            "output",
            "x",
            "explain",
        )


# --- explain ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("files")
def test_explain_says_which_model_fits(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, "explain", "y.npy", "--op", "linear", "--inputs", "x.npy", "--inputs", "x.npy")
    assert code == 0 and out.startswith("linear: 1 of 2 fit") and "\n  tf32, accurate: up to 0." in out
    np.save("far.npy", np.load("y.npy") * np.float32(1.5))
    code, out, _ = called(capsys, "explain", "far.npy", "--op", "linear", "--inputs", "call.npz")
    assert code == 2 and "no algorithm fits, in none of the models float32, tf32" in out


def test_explain_reads_safetensors_bfloat16_and_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ml_dtypes import bfloat16
    from safetensors.numpy import save_file

    monkeypatch.chdir(tmp_path)
    x = np.linspace(-2, 2, 12).astype(bfloat16).reshape(3, 4)
    np.save("y.npy", refnn.softmax(x, axis=0))
    np.save("x.npy", x)
    code, out, _ = called(capsys, "explain", "y.npy", "--op", "softmax", "--inputs", "x.npy", "--param", "axis=0")
    assert code == 0 and "  bfloat16, accurate: " in out
    assert called(capsys, "explain", "y.npy", "--op", "softmax", "--inputs", "x.npy")[0] == 2  # along the other axis
    x = x.astype(np.float32)
    g = np.ones_like(x)
    save_file({"x": x, "cotangent": g}, "call.safetensors")
    np.save("g.npy", g)
    np.save("gx.npy", refnn.tanh.vjp(g, x)[0])
    words = ("explain", "gx.npy", "--op", "tanh", "--what", "grad[x]", "--inputs")
    for more in (("call.safetensors",), ("call.safetensors", "--cotangent", "g.npy")):
        code, out, err = called(capsys, *words, *more)
        assert code == 0 and "float32, accurate" in out, err


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("y.npy --op attention --inputs x.npy", "unknown op 'attention'"),
        ("y.npy --op linear", "explain needs the inputs that linear was given: --inputs FILE, for x, weight, bias"),
        ("none.npy --op linear --inputs call.npz", "cannot read 'none.npy': No such file"),
        ("call.npz --op linear --inputs call.npz", "'call.npz' has 2 arrays (x, weight), expected one"),
        ("before.jsonl --op linear --inputs call.npz", "'before.jsonl' is no .npy, .npz or .safetensors file"),
        ("y.npy --op relu --inputs call.npz", "'call.npz' has 'weight', which is no input of relu: x"),
        (
            "x.npy --op linear --inputs call.npz",
            "'x.npy' has float32 of shape (2, 64), but output is float32 of (2, 2)",
        ),
        ("y.npy --op linear --inputs call.npz --what grad", "what is 'grad', expected one of output, grad[x]"),
        ("x.npy --op linear --inputs call.npz --what grad[x]", "grad[x] needs a cotangent"),
        ("bad.npy --op linear --inputs call.npz", "cannot read 'bad.npy'"),
        ("bad.npz --op linear --inputs call.npz", "cannot read 'bad.npz'"),
        ("bad.safetensors --op linear --inputs call.npz", "cannot read 'bad.safetensors'"),
    ],
)
def test_a_mistake_in_explain_gets_one_sentence(words: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    for suffix in ("npy", "npz", "safetensors"):
        Path(f"bad.{suffix}").write_bytes(b"\x93NUMPY nothing")
    code, out, err = called(capsys, "explain", *words.split())
    assert (code, out) == (1, "") and says in err and err.count("\n") == 1, err


# --- doctor ----------------------------------------------------------------------------------------------------------


def test_doctor_says_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = called(capsys, "doctor")
    assert (code, err) == (0, "")
    for said in ("numpy ", "float32-each", "bfloat16-saved   works", "refnn            works", "BLAS: ", "features: "):
        assert said in out or said == "float32-each"
    assert f"refnn {refnn.__version__}, Python" in out and "this thread      off" in out


def test_doctor_sees_a_missing_framework_and_a_thread_that_flushes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "refnn.witnesses.torch", None)  # which the entry point names
    code, out, _ = called(capsys, "doctor", "--json")
    assert code == 0 and "pip install 'refnn[torch]'" in json.loads(out)["adapters"]["torch"]

    def flushes() -> None:
        raise RuntimeError("this thread flushes subnormal numbers to zero")

    monkeypatch.setattr("refnn.arithmetic.balls.check_gradual_underflow", flushes)
    code, out, _ = called(capsys, "doctor", "--json")
    found = json.loads(out)
    assert code == 1 and found["flush_to_zero"]["this thread"] and not found["works"]
    assert found["models"]["float32"].startswith("RuntimeError: this thread flushes")
