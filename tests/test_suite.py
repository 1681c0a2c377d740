"""The conformance suite itself: wrong implementations fail it, its options do what they say, nothing empty is green."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import wrong

import refnn
from refnn import cli
from refnn.conformance import data
from refnn.implementations.spec import own
from refnn.report.badge import render as badge
from refnn.report.lines import loads
from refnn.report.markdown import cell
from refnn.report.words import headline, share
from refnn.suite import pytest_plugin as plugin
from refnn.suite import run as suites
from refnn.suite.read import Suite

pytest_plugins = ("pytester",)

PLUGIN = ("-p", "refnn.suite.pytest_plugin")  # of a refnn that is not installed; where it is, the same again
ROOT = Path(refnn.__file__).parent.parent
SUITE = Suite()
SMALL = suites.required(SUITE, ",".join(wrong.OPS), None, ["smoke", "normal", "hard"], [])


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def run(name: str, cases: Any = SMALL) -> Any:
    with suites.implementation(f"wrong:{name}") as impl:
        return suites.run(impl, cases, SUITE)


# --- wrong on purpose ------------------------------------------------------------------------------------------------

WRONG = [
    *("inputs_returned", "nan_everywhere", "zeros", "ones", "infinities", "zero_gradients", "nan_gradients"),
    *("negative_gradients", "double_gradients", "one_part_in_a_thousand", "half_precision", "wider", "flat", "lists"),
    *("nothing", "crash", "stale", "no_gradients_at_all"),
]


def passing(report: Any) -> set[str]:
    bad = {f.case for f in report.findings if f.verdict not in report.accept} | report.skips.keys()
    return {r.case for r in report.results} - bad


def test_what_is_right_passes() -> None:
    report = run("correct")
    assert report.ok and report.passed == report.required == len(SMALL)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_fails(name: str) -> None:
    """It fails on every op and on most cases. What it passes it answers as well as can be told: an empty array, zero
    for zero, a gradient that cancels but for its rounding."""
    report = run(name)
    assert not report.ok
    for op in wrong.OPS:
        assert any(f.op == op for f in report.unexpected), op
    assert len(passing(report)) <= len(SMALL) / 3


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("scribbling", "modified its input x in place"),
        ("mean_dropped", "violation: grad[x]"),
        ("no_shift", "special: output"),
    ],
)
def test_a_bug_in_softmax_is_named(name: str, says: str) -> None:
    report = run(name, suites.required(SUITE, "softmax", None, [], []))
    assert not report.ok
    assert any(says in str(f) for f in report.unexpected), str(report)


def test_what_is_not_there_is_skipped_and_never_passes() -> None:
    alone = run("forward_alone")
    assert alone.ok and alone.passed == 0 and len(alone.skips) == len(SMALL)
    assert {r.what for r in alone.results} == {"output"}
    partly = run("softmax_alone")
    assert partly.ok and 0 < partly.passed == sum(f.op == "softmax" for f, _ in SMALL)
    assert len(partly.skips) == len(SMALL) - partly.passed
    nothing = run("empty")
    assert not nothing.ok and nothing.passed == 0


# --- the pytest suite ------------------------------------------------------------------------------------------------


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Any:
    def run(*words: str, impl: str | None = "wrong:correct", ops: str = "softmax") -> pytest.RunResult:
        given = () if impl is None else ("--refnn-impl", impl, "--refnn-ops", ops)
        plugin = (*PLUGIN, "-p", "no:cacheprovider", "-p", "no:xdist")
        return pytester.runpytest_inprocess(*plugin, "--pyargs", "refnn.conformance", *given, *words)

    return run


def count(result: pytest.RunResult) -> dict[str, int]:
    return result.parseoutcomes()


SOFTMAX = suites.required(SUITE, "softmax", None, [], [])


def test_one_case_is_one_test_whose_id_is_the_fixtures(suite: Any) -> None:
    result = suite("-v")
    assert result.ret == 0
    assert count(result) == {"passed": len(SOFTMAX) + 1}
    ids = re.findall(r"test_case\[(.*)\] PASSED", result.stdout.str())
    assert ids == [f.id for f, _ in SOFTMAX]
    assert f"{len(SOFTMAX)} of {len(SOFTMAX)} required cases pass (100.0%)" in result.stdout.str()


def test_a_wrong_implementation_fails(suite: Any) -> None:
    for name in ("inputs_returned", "nan_everywhere", "zeros"):
        result = suite("--refnn-family", "smoke", impl=f"wrong:{name}", ops=",".join(wrong.OPS))
        assert result.ret == 1
        assert count(result) == {"failed": len(wrong.OPS), "passed": 1}  # the fixtures are complete all the same
        assert "wrong:" in result.stdout.str() and "does not conform" in result.stdout.str()


@pytest.mark.parametrize(
    ("words", "cases"),
    [
        (("--refnn-family", "smoke"), lambda f, d: f.family == "smoke"),
        (("--refnn-family", "smoke", "--refnn-family", "special"), lambda f, d: f.family in ("smoke", "special")),
        (("-m", "refnn_special"), lambda f, d: f.family == "special"),
        (("-m", "refnn_op(name='softmax') and not refnn_limits"), lambda f, d: f.family != "limits"),
        (("-k", "float64 and normal"), lambda f, d: f.dtype == "float64" and f.family == "normal"),
        (("--refnn-case", SOFTMAX[3][0].id), lambda f, d: f.id == SOFTMAX[3][0].id),
    ],
)
def test_filters_and_markers_select(words: tuple[str, ...], cases: Any, suite: Any) -> None:
    result = suite("--strict-markers", *words)
    assert result.ret == 0
    wanted = sum(cases(f, d) for f, d in SOFTMAX)
    assert wanted and count(result)["passed"] - wanted in (0, 1)


def test_every_family_has_a_marker(suite: Any) -> None:
    """Those of the networks too: a checkout whose markers are strict collects all cases."""
    result = suite("--strict-markers", "--collect-only", "-q", ops="*")
    assert result.ret == 1  # nothing was run
    assert set(plugin.FAMILIES) == {family for _, family in SUITE.entries}
    assert f"{SUITE.manifest['totals']['cases'] + 1} tests collected" in result.stdout.str()


def test_a_dtype_runs_all_that_have_bounds_for_it(suite: Any) -> None:
    result = suite("--refnn-dtype", "float64")
    assert count(result)["passed"] == 1 + len(suites.required(SUITE, "softmax", "float64", [], []))


def test_forward_alone_is_judged_by_the_outputs(suite: Any) -> None:
    result = suite("--refnn-forward", "--refnn-family", "smoke", impl="wrong:zero_gradients")
    assert result.ret == 0
    result = suite("--refnn-family", "smoke", impl="wrong:forward_alone")
    assert count(result) == {"skipped": 1, "passed": 1}
    assert result.ret == 1  # no case passed


@pytest.mark.parametrize(
    ("words", "impl", "code", "says"),
    [
        ((), None, 2, "refnn.conformance needs --refnn-impl"),
        (("-k", "nothing_at_all"), "wrong:correct", 1, "nothing was checked: this is a failure"),
        (("-k", "complete"), "wrong:correct", 1, "nothing was checked: this is a failure"),
        (("--refnn-min-cases", "0"), "wrong:empty", 1, "nothing was checked: this is a failure"),
        ((), "wrong:empty", 1, "nothing was checked: this is a failure"),
        (("--refnn-min-cases", "1000"), "wrong:correct", 1, "cases pass, expected at least 1000"),
        (("--refnn-ops", "zz*"), "wrong:correct", 4, "the options select no case"),
        (("--refnn-ops", "sofmax"), "wrong:correct", 4, "unknown op 'sofmax', did you mean 'softmax'"),
        (("--refnn-family", "easy"), "wrong:correct", 4, "unknown family 'easy'"),
        (("--refnn-dtype", "f32"), "wrong:correct", 4, "dtype 'f32' is not one of float16"),
        (("--refnn-case", "softmax/x"), "wrong:correct", 4, "no case of this selection has the id 'softmax/x'"),
        (("--refnn-accept", "all"), "wrong:correct", 4, "accept has 'all', expected some of"),
        ((), "nowhere:x", 4, "importing 'nowhere' raised ModuleNotFoundError"),
        ((), "wrong:nowhere", 4, "'wrong' has no 'nowhere'"),
        ((), "wrong:unknown_op", 4, "has 'sofmax', which is neither an op nor a network"),
        ((), "wrong:no_function", 4, "'softmax' is neither a forward nor a pair"),
        ((), "torhc", 4, "is not one of torch, refnn, module:object, cmd:PROGRAM"),
        ((), "cmd:./no-such-program", 4, "cannot be run: No such file or directory"),
        (("--refnn-xfails", "no.txt"), "wrong:correct", 4, "cannot read the expected failures 'no.txt'"),
        (("--refnn-report", "no/run.jsonl"), "wrong:correct", 4, "'no/run.jsonl' cannot be written: No such file"),
    ],
)
def test_nothing_empty_or_mistaken_is_green(
    words: tuple[str, ...], impl: str | None, code: int, says: str, suite: Any
) -> None:
    result = suite(*words, impl=impl)
    assert result.ret == code
    said = result.stdout.str() + result.stderr.str()
    assert says in said and "pytest_plugin.py:" not in said


OTHERS = ", ".join(name for name in refnn.implementations.known() if name != "torch")
NAMES = f"torch, refnn, module:object, cmd:PROGRAM, lines:PROGRAM, nor another framework ({OTHERS})"


@pytest.mark.parametrize(
    ("impl", "says"),
    [
        *((text, f"the implementation {text!r} is not one of {NAMES}") for text in ("torhc", "cmd", "wrong:")),
        (
            "nowhere:x",
            "the implementation 'nowhere:x': importing 'nowhere' raised ModuleNotFoundError: No module named 'nowhere'",
        ),
        ("wrong:nope", "the implementation 'wrong:nope': 'wrong' has no 'nope'"),
        ("os:path.nope", f"the implementation 'os:path.nope': {os.path.__name__!r} has no 'nope'"),
        ("wrong:asks.late", "the implementation 'wrong:asks.late': 'late' of 'Asks' raised ImportError: not here"),
        (
            "math:pi",
            "the implementation 'math:pi' is a float, expected a mapping from op names "
            "(refnn check takes a function, too)",
        ),
        (
            "wrong:unknown_op",
            "the implementation 'wrong:unknown_op' has 'sofmax', which is neither an op nor a network of refnn",
        ),
        (
            "wrong:no_function",
            "the implementation 'wrong:no_function': 'softmax' is neither a forward nor a pair of a forward and a vjp",
        ),
        ("cmd:", "the command '' is empty, expected a program and its arguments"),
        ("lines:'", 'the command "\'" cannot be split into words: No closing quotation'),
        ("cmd:./no-such-program", "the program './no-such-program' cannot be run: No such file or directory"),
    ],
)
def test_what_names_no_implementation_gets_the_same_sentence_everywhere(
    impl: str, says: str, suite: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["check", "softmax", "--impl", impl], ["verify", impl, "--ops", "softmax"]):
        assert cli.main(words) == 1
        assert capsys.readouterr().err == f"refnn: {says}\n", words
    result = suite(impl=impl)
    assert result.ret == 4
    assert f"ERROR: refnn: {says}\n" in result.stderr.str()


def test_a_function_is_an_implementation_for_check_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "relu", "--impl", "wrong:rectified", "--dtype", "float32"]) == 0
    assert cli.main(["verify", "wrong:rectified"]) == 1
    says = "is a function, expected a mapping from op names (refnn check takes a function, too)"
    assert capsys.readouterr().err == f"refnn: the implementation 'wrong:rectified' {says}\n"


@pytest.mark.parametrize("option", ["--vjp", "--framework"])
@pytest.mark.parametrize("impl", ["wrong:correct", "refnn", "torch"])
def test_what_gives_its_gradients_takes_no_others(impl: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "softmax", "--impl", impl, option, "math:sin"]) == 1
    assert f"--impl {impl} has its own gradients" in capsys.readouterr().err


FAILING = SOFTMAX[1][0].id


def test_expected_failures_are_shown_and_do_not_fail(suite: Any, pytester: pytest.Pytester) -> None:
    every = [f.id for f, _ in SOFTMAX if f.family == "smoke"]
    (pytester.path / "known.txt").write_text("# why\n\n" + "".join(f"{i}  # a known bug\n" for i in every))
    words = ("--refnn-xfails", "known.txt", "--refnn-family", "smoke", "--refnn-min-cases", "0")
    result = suite(*words, impl="wrong:zeros")
    assert result.ret == 0
    assert count(result) == {"xfailed": 1, "passed": 1}
    assert "0 of 1 required cases pass (0.0%), 1 expected to fail" in result.stdout.str()
    result = suite(*words)
    assert result.ret == 1  # an unexpected pass
    assert "it passes, although it is expected to fail: a known bug" in result.stdout.str()
    assert "1 expected finding no longer occurs" in result.stdout.str()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{FAILING}\n", "line 1: it has no reason, expected ID  # reason"),
        (f"{FAILING}  #\n", "line 1: it has no reason"),
        ("\nsoftmax/float32/smoke/gone  # x\n", "line 2: no case has the id 'softmax/float32/smoke/gone'"),
        ("softmax/*  # x\n", "no case has the id 'softmax/*'"),
        (f"{FAILING} float32 float64  # x\n", "is more than an id and a dtype before the reason"),
        ("softmax/float32/smoke/gone # x\n", "line 1: no case has the id 'softmax/float32/smoke/gone'"),
        (f"{FAILING} float16  # x\n", "has no bounds for 'float16'"),
        (f"{FAILING}  # x\n{FAILING} float32  # y\n", "line 2: " + FAILING + " occurs twice for float32"),
    ],
)
def test_a_wrong_list_of_expected_failures_is_an_error(
    text: str, says: str, suite: Any, pytester: pytest.Pytester
) -> None:
    (pytester.path / "known.txt").write_text(text)
    result = suite("--refnn-xfails", "known.txt")
    assert result.ret == 4
    assert says in result.stdout.str() + result.stderr.str()


def test_what_is_explained_passes_only_if_that_is_said(suite: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        textbook="import numpy as np\nimpl = {'tanh': (np.tanh, lambda g, x: g * (1 - np.tanh(x) * np.tanh(x)))}\n"
    )
    result = suite("--refnn-dtype", "float32", impl="textbook:impl", ops="tanh")
    assert result.ret == 1 and "explained [textbook]: grad[x]" in result.stdout.str()
    accepted = ("--refnn-dtype", "float32", "--refnn-accept", "explained")
    result = suite(*accepted, impl="textbook:impl", ops="tanh")
    assert result.ret == 0 and "conforms, where explained is accepted" in result.stdout.str()
    # What is accepted and expected as well is no unexpected pass; nor is what only the gradients do, where they are
    # not asked for, which is said beside the verdict.
    (pytester.path / "known.txt").write_text("  # known\ntanh/float32/smoke/x=7\t# a reason\n")
    words = ("--refnn-xfails", "known.txt", "--refnn-family", "smoke")
    result = suite(*words, *accepted, impl="textbook:impl", ops="tanh")
    assert result.ret == 0 and count(result)["passed"] == 2
    result = suite(*words, "--refnn-dtype", "float32", impl="textbook:impl", ops="tanh")
    assert count(result) == {"xfailed": 1, "passed": 1}
    result = suite(*words, "--refnn-dtype", "float32", "--refnn-forward", impl="textbook:impl", ops="tanh")
    assert result.ret == 0 and "conforms in its outputs alone; 1 of 1" in result.stdout.str()


def test_a_finding_has_one_allowance() -> None:
    """Of what another class explains, too: error over allowed is the ratio that stands beside them."""
    textbook = {"tanh": (np.tanh, lambda g, x: g * (1 - np.tanh(x) * np.tanh(x)))}
    cases = suites.required(SUITE, "tanh", "float32", ["hard"], [])
    report = suites.run(suites.of_mapping("textbook", textbook), cases, SUITE)
    explained = [f for f in report.findings if f.verdict == "explained"]
    assert explained
    for f in explained:
        assert f.ratio == f.error / f.allowed > 1


def test_the_report_is_written_and_says_what_ran(suite: Any, pytester: pytest.Pytester) -> None:
    result = suite("--refnn-report", "run.jsonl", "--junitxml", "junit.xml", impl="wrong:mean_dropped")
    assert result.ret == 1
    report = loads((pytester.path / "run.jsonl").read_text())
    assert report.header["suite"] == SUITE.version and report.header["manifest"] == SUITE.digest
    assert report.required == len(SOFTMAX) and not report.partial and not report.ok
    assert {f.what for f in report.unexpected} == {"grad[x]"}
    assert report.passed == count(result)["passed"] - 1
    tests = {t.get("name"): t for t in ET.parse(pytester.path / "junit.xml").getroot().iter("testcase")}
    properties = tests[f"test_case[{FAILING}]"].iter("property")
    assert [p.get("name") for p in properties] == ["worst_ratio"]
    said = suite("--refnn-report", "run.jsonl", "-k", "smoke").stdout.str()
    assert f"only 1 of the {len(SOFTMAX)} required cases were run; in what was run nothing unexpected was found" in said
    assert loads((pytester.path / "run.jsonl").read_text()).partial


def test_the_plugin_is_inert_and_light_without_its_options(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys
        def test_light():
            heavy = [m for m in ("torch", "sympy", "refnn.suite.run", "refnn.suite.fixture") if m in sys.modules]
            assert not heavy, heavy
        """
    )
    command = [sys.executable, "-m", "pytest", *PLUGIN, "-p", "no:xdist", "-q"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=pytester.path, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout
    assert "refnn" not in done.stdout


def test_it_works_under_xdist_with_the_same_result(pytester: pytest.Pytester) -> None:
    command = [sys.executable, "-m", "pytest", *PLUGIN, "-p", "no:cacheprovider", "-q", "-n", "2"]
    command += ["--pyargs", "refnn.conformance", "--refnn-impl", "wrong:mean_dropped", "--refnn-ops", "softmax"]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"}
    done = subprocess.run(
        [*command, "--refnn-report", "run.jsonl"], cwd=pytester.path, capture_output=True, text=True, env=env
    )
    assert done.returncode == 1, done.stdout + done.stderr
    report = loads((pytester.path / "run.jsonl").read_text())
    alone = run("mean_dropped", SOFTMAX)
    assert (report.passed, report.required, report.partial) == (alone.passed, len(SOFTMAX), False)
    assert sorted(f.key for f in report.findings) == sorted(f.key for f in alone.findings)


# --- torch -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("impl", "dtype", "name"),
    [
        ("torch", None, "torch-2.13.0-cpu"),
        ("torch", "float64", None),
        ("refnn", "float32", "refnn-float32"),
        ("refnn", "float64", "refnn-float64"),
    ],
)
def test_what_is_committed_is_what_comes_out(impl: str, dtype: str | None, name: str | None) -> None:
    """PyTorch passes apart from what is known, refnn's own floats pass; the committed reports say the same."""
    with suites.implementation(impl) as running:
        cases = suites.required(SUITE, "*", dtype, [], [])
        report = suites.run(running, cases, SUITE, expected=suites.committed(impl, SUITE))
    assert report.ok, str(report)
    assert report.passed == len(cases) if impl == "refnn" else report.passed > 0.9 * len(cases)
    assert {r.op for r in report.results} == {op for op, _ in SUITE.entries}
    if name is not None:
        assert badge(report) == data("reports", f"{name}.badge.json").read_text(encoding="utf-8")
        page = data("reports", f"{name}.md").read_text(encoding="utf-8")
        assert cell(headline(report)) in page and cell(share(report)) in page
        assert SUITE.digest in page, "the report is of other fixtures"


def test_a_network_with_a_wrong_gradient_fails() -> None:
    """The second layer's bias is left out of the backward pass."""
    net = refnn.Network.load("digits_mlp")
    forward, vjp = own()["digits_mlp"]
    last = net.nodes[-1].name

    def wrong_vjp(g: Any, params: Any, *inputs: Any) -> Any:
        return {n: v * 0 if n == f"{last}.bias" else v for n, v in vjp(g, params, *inputs).items()}

    cases = suites.required(SUITE, "digits_mlp", None, [], [])
    for name, pair, ok in (("right", (forward, vjp), True), ("wrong", (forward, wrong_vjp), False)):
        report = suites.run(suites.of_mapping(name, {"digits_mlp": pair}), cases, SUITE)
        assert report.ok == ok
        assert {f.what for f in report.unexpected} == (set() if ok else {f"grad[{last}.bias]"})


# --- installed -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """refnn as a wheel brings it, in a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    built = [*pip, "wheel", "--no-deps", "-w", str(folder / "wheels"), str(ROOT)]
    subprocess.run(built, check=True, capture_output=True)
    (wheel,) = (folder / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.mark.parametrize("given", [(), PLUGIN])
def test_the_suite_runs_from_an_installed_refnn(given: tuple[str, ...], installed: Path, tmp_path: Path) -> None:
    """Its options come from the entry point, its data from the package; nothing of the checkout is seen."""
    assert (installed / "refnn" / "conformance" / "data" / "MANIFEST.json").is_file()
    command = [sys.executable, "-P", "-m", "pytest", *given, "-p", "no:cacheprovider", "-p", "no:xdist", "-q"]
    command += [
        "--pyargs",
        "refnn.conformance",
        "--refnn-impl",
        "refnn:ops",
        "--refnn-ops",
        "softmax,relu",
        "--refnn-report",
        "r",
    ]
    env = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert loads((tmp_path / "r").read_text()).passed == len(suites.required(SUITE, "softmax,relu", None, [], []))
    where = [sys.executable, "-P", "-c", "import refnn; print(refnn.__file__)"]
    assert subprocess.run(where, env=env, capture_output=True, text=True, cwd=tmp_path).stdout.startswith(
        str(installed)
    )


def test_the_suite_runs_from_a_checkout_that_is_not_installed(tmp_path: Path) -> None:
    """Where no plugin loads itself; the options come from the conftest.py of the checkout."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-o", "addopts="]
    command += ["--pyargs", "refnn.conformance", "--refnn-impl", "refnn:ops", "--refnn-ops", "softmax,relu"]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    report = tmp_path / "run.jsonl"
    done = subprocess.run([*command, "--refnn-report", str(report)], cwd=ROOT, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert loads(report.read_text()).passed == len(suites.required(SUITE, "softmax,relu", None, [], []))


def test_a_network_of_the_fixtures_loads_from_an_installed_refnn(installed: Path, tmp_path: Path) -> None:
    code = "import refnn, json; print(json.dumps(refnn.Network.load('digits_mlp').parameters))"
    env = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert json.loads(done.stdout) == list(refnn.Network.load("digits_mlp").parameters), done.stderr
