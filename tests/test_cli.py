"""The command: its exit status, what it writes when something goes wrong, one sentence for each mistake."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from refnn import cli
from refnn.implementations import adapter_for
from refnn.report import Finding, Report, Result
from refnn.report.lines import Writer, dumps, loads

CASE = "relu/float32/normal/x=3/random/0"


def part(op="relu", **verdicts):
    case = f"{op}/float32/normal/x=3/random/0"
    bad = [v for v in verdicts if v not in ("exact", "ok", "convention")]
    findings = [Finding(case, op, "float32", "normal", "output", v, got=1.0, replay="print()") for v in bad]
    results = [Result(case, op, "float32", "normal", "output", verdicts, 0.5, {-1: 1}, 0.1)] if verdicts else []
    return Report({"subject": op, "dtype": "float32"}, results, findings)


def interrupt():
    raise KeyboardInterrupt


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """`refnn report` on hand-made subjects: the exit status, the folder, and what was printed."""

    def run(*subjects, args=()):
        named = [(str(i), s) for i, s in enumerate(subjects)]
        monkeypatch.setattr("refnn.cli.report._subjects", lambda *args: named)
        code = cli.main(["report", "--out", str(tmp_path / "out"), *args])
        printed = capsys.readouterr()
        return code, tmp_path / "out", printed.out, printed.err

    return run


def sentence(err):
    """Exactly one line, without a traceback."""
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


# --- report ----------------------------------------------------------------------------------------------------------


def test_a_conforming_report_ends_in_0_and_writes_all_forms(run):
    code, out, printed, err = run(lambda: part(ok=3), lambda: part("tanh", exact=2))
    assert code == 0
    assert err == ""
    assert sorted(p.name for p in out.iterdir()) == [
        "findings.md",
        "junit.xml",
        "report.html",
        "report.jsonl",
        "report.md",
    ]
    report = loads((out / "report.jsonl").read_text())
    assert report.ok
    assert [r.op for r in report.results] == ["relu", "tanh"]
    assert (out / "report.html").read_text() == report.to_html()
    assert (out / "report.md").read_text() == report.to_markdown()
    ET.parse(out / "junit.xml")
    assert all(name in printed for name in ("relu", "tanh", "report.html", "conforms"))
    assert report.header["seed"] == 0
    assert report.header["command"].startswith("refnn")
    assert {"numpy", "python", "cpu", "threads", "models"} <= report.header.keys()


@pytest.mark.parametrize("verdict", ["suspect", "explained", "violation", "special", "error"])
def test_what_does_not_conform_ends_in_2(run, verdict):
    code, out, printed, _ = run(lambda: part(ok=100, **{verdict: 1}))
    assert code == 2
    assert verdict in printed
    assert "does not conform" in printed
    assert (out / "report.html").exists()


def test_nan_rows_never_end_in_0(run):
    nan = Report({}, [Result("a/0", "relu", "float32", "normal", "output", {"ok": 5}, float("nan"))])
    assert run(lambda: nan)[0] == 2


def test_an_expected_finding_ends_in_0_and_a_stale_one_in_2(run):
    known = part(violation=1)
    known.expected = {CASE: "known upstream"}
    code, _, printed, _ = run(lambda: known)
    assert code == 0
    assert "(expected)" in printed
    stale = part(ok=1)
    stale.expected = {CASE: "known upstream"}
    assert run(lambda: stale)[0] == 2


def test_subjects_that_check_nothing_end_in_3(run):
    code, out, _, _ = run(lambda: Report({}))
    assert code == 3
    assert "othing was checked" in (out / "report.html").read_text()


def test_a_pattern_that_matches_nothing_ends_in_3(tmp_path, capsys):
    assert cli.main(["report", "--ops", "zz*", "--out", str(tmp_path / "out")]) == 3
    assert "'zz*' matches no op and no network" in sentence(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_an_unknown_op_ends_in_1_with_the_nearest_name(tmp_path, capsys):
    assert cli.main(["report", "--ops", "sotfmax", "--out", str(tmp_path / "out")]) == 1
    assert "'softmax'" in sentence(capsys.readouterr().err)


def test_an_interruption_keeps_what_was_written_and_ends_in_130(run):
    code, out, _, err = run(lambda: part(ok=3), interrupt, lambda: part("tanh", exact=2))
    assert code == 130
    assert "interrupted" in sentence(err)
    report = loads((out / "report.jsonl").read_text())
    assert [r.op for r in report.results] == ["relu"]
    assert report.partial
    assert json.loads((out / "report.jsonl").read_text().splitlines()[-1])["partial"] is True
    assert "<title>PARTIAL" in (out / "report.html").read_text()
    assert (out / "junit.xml").exists()


def test_the_lines_of_a_check_are_there_before_the_next_begins(run, tmp_path):
    seen = []

    def look():
        seen.extend(json.loads(line)["kind"] for line in (tmp_path / "out" / "report.jsonl").read_text().splitlines())
        return part("tanh", exact=2)

    run(lambda: part(ok=3), look)
    assert seen == ["header", "result"]


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_computed(run, tmp_path):
    (tmp_path / "out").write_text("a file")
    ran = []
    code, _, printed, err = run(lambda: ran.append(1) or part(ok=1), args=["--out", str(tmp_path / "out" / "deeper")])
    assert code == 1
    assert not ran
    assert printed == ""
    assert str(tmp_path / "out" / "deeper") in sentence(err)


def test_a_full_disk_gets_a_sentence_and_keeps_the_lines(run, monkeypatch):
    add = Writer.add

    def full(self, report):
        if self.report.results:
            raise OSError(28, "No space left on device")
        add(self, report)

    monkeypatch.setattr(Writer, "add", full)
    code, out, _, err = run(lambda: part(ok=3), lambda: part("tanh", exact=2))
    assert code == 1
    assert "No space left on device" in sentence(err)
    report = loads((out / "report.jsonl").read_text())
    assert report.partial
    assert [r.op for r in report.results] == ["relu"]


def test_an_error_of_refnn_itself_is_not_hidden(run):
    def broken():
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        run(broken)


def test_files_of_an_earlier_run_do_not_outlive_it(run):
    _, out, _, _ = run(lambda: part(ok=3))
    assert (out / "report.html").exists()
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 / 0)
    assert not (out / "report.html").exists()


def test_nothing_but_the_report_goes_to_a_pipe(run):
    _, _, printed, err = run(lambda: part(ok=3))
    assert err == ""
    assert "\x1b" not in printed


def test_the_subjects_are_every_op_in_every_dtype(monkeypatch):
    pytest.importorskip("torch")
    labels = [label for label, _ in cli.report._subjects("*softmax", ["float32", "float64"], 0, adapter_for("torch"))]
    assert labels == ["log_softmax float32", "log_softmax float64", "softmax float32", "softmax float64"]


# --- render ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("to", "suffix"), [("html", ".html"), ("md", ".md"), ("junit", ".xml"), ("json", ".json")])
def test_render_makes_each_form_beside_the_lines(tmp_path, to, suffix):
    path = tmp_path / "run.jsonl"
    path.write_text(dumps(part(ok=3)))
    assert cli.main(["render", str(path), "--to", to]) == 0
    assert (tmp_path / f"run{suffix}").read_text()


def test_render_can_write_to_standard_output(tmp_path, capsys):
    path = tmp_path / "run.jsonl"
    path.write_text(dumps(part(violation=1)))
    assert cli.main(["render", str(path), "--to", "md", "--out", "-"]) == 0
    assert capsys.readouterr().out == part(violation=1).to_markdown()


@pytest.mark.parametrize("content", [None, "", "{oops\n", "\xff\n"])
def test_a_file_that_cannot_be_read_gets_a_sentence(tmp_path, capsys, content):
    path = tmp_path / "run.jsonl"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    assert cli.main(["render", str(path)]) == 1
    assert "run.jsonl" in sentence(capsys.readouterr().err)


def test_a_file_that_cannot_be_written_gets_a_sentence(tmp_path, capsys):
    path = tmp_path / "run.jsonl"
    path.write_text(dumps(part(ok=3)))
    assert cli.main(["render", str(path), "--out", str(path / "below")]) == 1
    assert "below" in sentence(capsys.readouterr().err)


# --- check -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def implementation(tmp_path, monkeypatch):
    """A module in the current folder, under a name that no other test imports."""
    name = f"implementation_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(
        "import numpy as np\nNUMBER = 3\n"
        "def forward(x): return np.maximum(x, 0)\n"
        "def vjp(g, x): return (np.where(x > 0, g, 0).astype(g.dtype),)\n"
        "def wrong(g, x): return (g.copy(),)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def test_check_passes_the_object_on_and_its_code_is_the_reports(implementation, monkeypatch, capsys):
    calls = []

    def check(*args):
        calls.append(args)
        return part(**{"violation" if args[1]["vjp"].__name__ == "wrong" else "ok": 1})

    monkeypatch.setattr("refnn.cli.check._check", check)
    given = ["check", "relu", "--impl", f"{implementation}:forward", "--vjp"]
    assert cli.main([*given, f"{implementation}:vjp", "--dtype", "float32", "--dtype", "float64", "--seed", "3"]) == 0
    assert [(c[2], c[4]) for c in calls] == [("float32", 3), ("float64", 3)]
    assert cli.main([*given, f"{implementation}:wrong", "--case", CASE]) == 2
    assert calls[-1][2:4] == (None, CASE)
    assert "does not conform" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--impl", "{m}"], "module:object"),
        (["--impl", "{m}:nothing"], "has no 'nothing'"),
        (["--impl", "{m}:NUMBER"], "is a int"),
        (["--impl", "no_such_module:f"], "no_such_module"),
        (["--impl", "{m}:forward", "--dtype", "float31"], "float31"),
        (["--impl", "{m}:forward", "--vjp", "{m}:vjp", "--framework", "torch"], "does not go with --framework torch"),
        (["--impl", "{m}:forward", "--case", "nonsense"], "nonsense"),
        (["--impl", "{m}:forward", "--framework", "abacus"], "abacus"),
    ],
)
def test_a_mistake_in_check_gets_a_sentence_and_ends_in_1(implementation, capsys, args, expected):
    assert cli.main(["check", "relu", *(a.format(m=implementation) for a in args)]) == 1
    assert expected in sentence(capsys.readouterr().err)


def test_check_of_an_unknown_op_names_the_nearest(capsys):
    assert cli.main(["check", "rleu", "--impl", "math:sin"]) == 1
    assert "'relu'" in sentence(capsys.readouterr().err)


WOMEN = "women/float32/network/weights=trained"


def test_check_replays_a_case_of_the_fixtures(tmp_path, monkeypatch, capsys):
    """Of an op and of a network, whoever implements it; in a wider format, and in no narrower one."""
    (tmp_path / "half_women.py").write_text(
        "import refnn\nnet = refnn.Network.load('women')\n"
        "def forward(params, *inputs): return net.forward(params, *inputs).output\n"
        "def vjp(g, params, *inputs):\n"
        "    return {n: x / 2 for n, x in net.backward(net.forward(params, *inputs), g).items()}\n"
        "impl = {'women': (forward, vjp)}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    program = f"lines:{sys.executable} {Path(__file__).parent / 'program.py'} --lines"
    for impl in ("torch", "refnn", program):
        assert cli.main(["check", "women", "--impl", impl, "--case", WOMEN]) == 0, impl
        assert cli.main(["check", "relu", "--impl", impl, "--case", "relu/float32/smoke/x=7"]) == 0, impl
    assert cli.main(["check", "women", "--impl", "half_women:impl", "--case", WOMEN, "--dtype", "float64"]) == 2
    said = capsys.readouterr().out
    assert "violation: grad[fc.weight]" in said and "dtype='float64'" in said
    assert cli.main(["verify", "half_women:impl", "--ops", "women", "--out", "run.jsonl"]) == 2
    replay = loads((tmp_path / "run.jsonl").read_text()).unexpected[0].replay
    assert cli.main(shlex.split(replay)[1:]) == 2
    capsys.readouterr()
    for words, says in (
        (["women", "--impl", "torch", "--case", "relu/float32/smoke/x=7"], "is not a case of women"),
        (["relu", "--impl", "torch", "--case", WOMEN], "is not a case of relu"),
        (["relu", "--impl", "refnn", "--vjp", "math:sin"], "has its own gradients"),
        (["relu", "--impl", "torch", "--case", "relu/float64/normal/x=0d", "--dtype", "float32"], "holds float64"),
    ):
        assert cli.main(["check", *words]) == 1
        assert says in sentence(capsys.readouterr().err)


@pytest.mark.parametrize("words", [["verify", "torch"], ["check", "relu", "--impl", "torch"], ["report"]])
def test_without_pytorch_there_is_a_sentence(words, monkeypatch, capsys):
    for name in ("refnn.implementations.torch", "refnn.witnesses.torch"):
        monkeypatch.setitem(sys.modules, name, None)  # as if importing it failed
    monkeypatch.delattr("refnn.implementations.torch", raising=False)
    assert cli.main(words) == 1
    assert "pip install 'refnn[torch]'" in sentence(capsys.readouterr().err)


# --- usage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args", [["bogus"], ["report", "--bogus"], ["report", "--seed", "x"], ["render"], ["check", "relu"]]
)
def test_wrong_usage_ends_in_1(args, capsys):
    assert cli.main(args) == 1
    assert "--help" in sentence(capsys.readouterr().err)


def test_an_unknown_dtype_ends_in_1(capsys):
    assert cli.main(["report", "--dtype", "single"]) == 1
    assert "float32" in sentence(capsys.readouterr().err)


def test_help_ends_in_0_and_no_command_in_1(capsys):
    assert cli.main(["--help"]) == 0
    assert "report" in capsys.readouterr().out
    assert cli.main([]) == 1
    assert "report" in capsys.readouterr().out


def test_ops_lists_signatures_with_what_each_is(capsys):
    assert cli.main(["ops"]) == 0
    printed = capsys.readouterr().out
    assert "refnn.softmax(x, *, axis=-1)\n    " in printed


def test_the_module_runs_and_hands_on_the_exit_code():
    done = subprocess.run([sys.executable, "-m", "refnn", "bogus"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    sentence(done.stderr)


def test_starting_the_command_imports_nothing_heavy():
    heavy = ("torch", "rich", "jinja2", "sympy", "matplotlib")
    code = f"import sys, refnn.cli; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
