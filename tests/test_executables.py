"""Programs as implementations: right ones conform, in both forms; whatever else one does is reported as that, and the
rest goes on."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import refnn
from refnn import cli
from refnn.implementations import executable
from refnn.implementations.executable import Program
from refnn.report.lines import loads
from refnn.suite.fixture import SUITE as VERSION
from refnn.suite.fixture import request
from refnn.suite.read import Suite
from refnn.suite.run import implementation, required, run

SUITE = Suite()
HERE = Path(__file__).parent
SMOKE = SUITE.cases("softmax", "smoke")[0]
COMMAND = f"{sys.executable} {HERE / 'program.py'}"
SOFTMAX = required(SUITE, "softmax", None, ["smoke", "special"], [])
FORMS = {"cmd": COMMAND, "lines": f"{COMMAND} --lines"}


def report(form: str, *words: str, cases=SOFTMAX, timeout=10.0):
    with implementation(f"{form}:{' '.join([FORMS[form], *words])}", timeout=timeout) as impl:
        return run(impl, cases, SUITE)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [None, "float64"])
def test_a_right_program_passes(form, dtype):
    """Of ops, and of networks, whose parameters are inputs like any other."""
    ops = "softmax,nll_loss,conv1d,cross_entropy,flatten,women,digits_cnn"
    cases = required(SUITE, ops, dtype, ["smoke", "special", "network"], [])
    found = report(form, cases=cases)
    assert found.ok, str(found)
    assert (found.passed, found.required) == (len(cases), len(cases))
    assert found.header["implementation"]["name"] == (
        "program" if form == "cmd" else f"{Path(sys.executable).name} program.py --lines"
    )


ANSWERS = {
    "error": ("out of memory",) * 2,
    "order": ("answered seq 3 when it was asked for 2: out of order", "out of order"),
    "truncated": ("cannot be read: the answer: it is not JSON", "digits, expected"),
    "garbage": ("cannot be read: the answer: it is not JSON", "'fault' is neither RESULT=BITS nor SKIP nor ERR"),
    "hex": ("the answer.results.y.bits is 'ggg", "y has 'g' at place"),
    "huge": ("y has shape [2500000000], expected", "y has 100 digits, expected"),
    "forward": ("d/x was not answered",) * 2,
    "more": ("d/more was not asked for",) * 2,
    "unknown": ("has the unknown field 'rtol'", "'d/x' is neither RESULT=BITS nor SKIP nor ERR"),
    "crash": ("was ended by SIGABRT before it answered (its standard error ends: I am about to crash)",) * 2,
    "exit": ("ended with exit status 7 before it answered",) * 2,
    "flood": ("flooded its output: more than",) * 2,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ANSWERS)
def test_what_a_program_does_instead_is_said_and_the_rest_goes_on(form, name, tmp_path, monkeypatch):
    """It does so at the second of eight requests; the other seven pass."""
    monkeypatch.setenv("PROGRAM_COUNT", str(tmp_path / "count"))
    found = report(form, name, "2")
    bad = {f.case for f in found.findings}
    assert bad == {SOFTMAX[1][0].id}, str(found)
    messages = [f.message for f in found.findings]
    assert any(ANSWERS[name][form == "lines"] in m for m in messages), messages
    assert not found.ok
    assert found.passed == len(SOFTMAX) - 1


@pytest.mark.parametrize("form", FORMS)
def test_a_program_that_hangs_is_killed_and_started_again(form, tmp_path, monkeypatch):
    monkeypatch.setenv("PROGRAM_COUNT", str(tmp_path / "count"))
    begun = time.monotonic()
    found = report(form, "hang", "3", timeout=2.0)
    assert time.monotonic() - begun < 30
    assert [f.case for f in found.findings] == [SOFTMAX[2][0].id]
    assert "did not answer within 2 s and was killed" in found.findings[0].message
    assert found.passed == len(SOFTMAX) - 1


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_too_many_is_no_answer_to_the_next(form, tmp_path, monkeypatch):
    monkeypatch.setenv("PROGRAM_COUNT", str(tmp_path / "count"))
    found = report(form, "twice", "2")
    assert {f.case for f in found.findings} == {SOFTMAX[2][0].id}
    assert "before the request was sent" in found.findings[0].message or "out of order" in found.findings[0].message


@pytest.mark.parametrize("form", FORMS)
def test_skips_stand_beside_the_share_and_never_in_it(form, tmp_path, monkeypatch):
    monkeypatch.setenv("PROGRAM_COUNT", str(tmp_path / "count"))
    found = report(form, "skip", "2")
    assert found.ok
    assert (found.passed, found.required, len(found.skips)) == (len(SOFTMAX) - 1, len(SOFTMAX), 1)
    assert f"{len(SOFTMAX) - 1} of {len(SOFTMAX)} required cases pass" in str(found)
    assert "1 not supported" in str(found) and "not today" in str(found)
    every = report(form, "skip")
    assert not every.ok and len(every.skips) == len(SOFTMAX)


def test_what_is_beyond_its_capabilities_is_not_sent():
    """float32, at most 20 elements, softmax, and relu without gradients."""
    big = SUITE.find("softmax/float32/normal/x=2x4x3,axis=1")
    assert big is not None and big.cotangent.size == 24
    cases = required(SUITE, "softmax,relu,tanh", None, ["smoke", "normal"], [])
    found = report("cmd", "capable", cases=cases)
    reasons = Counter(found.skips.values())
    assert found.ok
    assert reasons["the program has no tanh"] > 3
    assert reasons["the program has no float64"] > 3
    assert reasons["the program takes at most 20 elements, the case has 24"] >= 1
    assert reasons["no gradients: the output alone was checked"] > 2
    checked = {(r.op, r.what) for r in found.results}
    assert checked == {("softmax", "output"), ("softmax", "grad[x]"), ("relu", "output")}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("protocol", "the answer to start.protocol is 2, expected 1"),
        ("nonsense", "the answer to start: it is not JSON"),
        ("nonsense", "; for a program of text lines write lines:"),
        ("silent", "did not answer within 1 s and was killed"),
    ],
)
def test_a_program_that_does_not_start_gets_a_sentence(name, expected, monkeypatch):
    monkeypatch.setattr(executable, "START_TIMEOUT", 1.0 if name == "silent" else 60.0)
    with pytest.raises(ValueError, match="did not start") as e:
        report("cmd", name)
    assert expected in str(e.value)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("", "is empty, expected a program and its arguments"),
        ("./no-such-program", "the program './no-such-program' cannot be run: No such file or directory"),
        ("/", "the program '/' cannot be run: Permission denied"),
        ("echo 'x", "cannot be split into words: No closing quotation"),
    ],
)
def test_a_command_that_cannot_be_run_gets_a_sentence(command, expected):
    with pytest.raises(ValueError, match=re.escape(expected)), Program(command, VERSION):
        pass


def test_a_command_is_split_and_never_interpreted(tmp_path):
    """What a shell would make of it does not happen."""
    made = tmp_path / "made"
    for words in (f"; touch {made}", f"&& touch {made}", f"$(touch {made})", f"| tee {made}", f"> {made}"):
        program = Program(f"{FORMS['lines']} {words}", VERSION, lines=True)
        program.run(request(*SOFTMAX[0]))
        program.close()
    assert not made.exists()
    assert Program("./mynn 'two words' --x=\"a b\"", VERSION).words == ["./mynn", "two words", "--x=a b"]


def test_nothing_is_left_running(tmp_path):
    """A program is ended with all that it started."""
    script = tmp_path / "parent.sh"
    script.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > {tmp_path / 'child'}\nexec cat > /dev/null\n")
    script.chmod(0o755)
    program = Program(str(script), VERSION, lines=True, timeout=1.0)
    assert "did not answer" in program.run(request(*SOFTMAX[0])).errors[0]
    child = int((tmp_path / "child").read_text())
    for _ in range(50):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        if "\nState:\tZ" in Path(f"/proc/{child}/status").read_text():
            break  # dead, and waiting for a parent that has its own
        time.sleep(0.1)
    else:
        os.kill(child, signal.SIGKILL)
        raise AssertionError("the child is still running")


def test_a_program_that_does_not_read_what_it_is_sent_does_not_hang_the_suite():
    """More than a pipe holds, to a program that only writes."""
    big = required(SUITE, "linear", None, ["normal"], [])
    program = Program(f'{sys.executable} -c "import time; time.sleep(600)"', VERSION, lines=True, timeout=1.0)
    assert "did not answer within 1 s" in program.run(request(*big[0])).errors[0]
    program.close()


# --- refnn check OP --impl cmd:... -----------------------------------------------------------------------------------


def test_check_runs_a_program_with_the_whole_judge(capsys):
    code = cli.main(["check", "relu", "--impl", f"cmd:{COMMAND}", "--case", "relu/float32/smoke/x=7"])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "conforms" in printed


@pytest.mark.parametrize(("name", "code", "says"), [("crash", 2, "SIGABRT"), ("skip", 3, "not today")])
def test_check_says_what_a_program_does_instead(name, code, says, capsys):
    assert cli.main(["check", "softmax", "--impl", f"cmd:{COMMAND} {name}", "--case", SMOKE.id]) == code
    assert says in capsys.readouterr().out


def test_functions_of_a_program_are_functions_of_arrays():
    with Program(COMMAND, VERSION) as program:
        forward, vjp = program.functions(refnn.ops["softmax"])
        x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
        assert np.array_equal(forward(x, axis=0), refnn.softmax(x, axis=0))
        assert vjp is not None
        assert np.array_equal(vjp(x, x, axis=0)[0], refnn.softmax.vjp(x, x, axis=0)[0])
        r = refnn.check("softmax", forward=forward, vjp=vjp, dtype="float32", families=["large"])
        assert r.ok, str(r)


# --- refnn gen --lines | PROGRAM | refnn verify - --------------------------------------------------------------------


def refnn_(*words, given=None):
    env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, "-m", "refnn", *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, cwd=HERE.parent, env=env)


@pytest.fixture(scope="module")
def asked():
    """The requests of softmax in float32, by id."""
    done = refnn_("gen", "softmax", "--lines", "--dtype", "float32", "--family", "smoke", "--family", "special")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def right(asked):
    """The right answers, with the comment first."""
    text = "\n".join([*asked, ""])
    done = subprocess.run([*FORMS["lines"].split()], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def verified(rows, *words):
    """Exit code and output of verify; the report's lines with --out."""
    done = refnn_("verify", "-", *words, given="\n".join([*rows, ""]) if rows else "")
    return done.returncode, done.stdout + done.stderr


def test_the_requests_begin_with_what_is_asked_for(asked):
    words = dict(w.split("=", 1) for w in asked[0].split()[3:])
    assert asked[0].startswith("# refnn 1 suite=")
    assert (words["of"], words["dtype"], words["family"], words["want"]) == ("softmax", "float32", "smoke,special", "*")
    assert int(words["cases"]) == len(asked) - 1
    assert int(words["longest"]) == max(map(len, asked[1:])) + 1


def test_right_answers_conform(right):
    code, out = verified(right)
    assert code == 0, out
    assert "8 of 8 required cases pass (100.0%)" in out


def test_right_answers_without_the_comment_conform_only_if_they_are_all(right):
    """Then every case of the op in float32 is required, and most are missing."""
    code, out = verified(right[1:])
    assert code == 2
    assert out.count("not answered: softmax/float32/") == len(required(SUITE, "softmax", "float32", [], [])) - 8
    assert "was inferred" in out
    every = refnn_("gen", "softmax", "--lines", "--dtype", "float64").stdout
    done = subprocess.run(FORMS["lines"].split(), input=every, capture_output=True, text=True)
    code, out = verified(done.stdout.splitlines()[1:])
    assert code == 0, out
    assert "in float64: conforms" in out


def test_each_id_that_is_missing_is_named(right):
    code, out = verified([right[0], *right[3:]])
    assert code == 2
    assert [f"not answered: {row.split()[0]}" in out for row in right[1:]] == [True, True, *[False] * 6]
    assert "6 of 8 required cases pass" in out


@pytest.mark.parametrize("rows", [[], ["# a comment of its own"], None])
def test_no_answer_ends_in_3(rows, right):
    code, out = verified(right[:1] if rows is None else rows)
    assert code == 3
    assert "no answer came" in out


def nan(row):
    name, y, *rest = row.split()
    return " ".join([name, f"y={'7fc00000' * (len(y[2:]) // 8)}", *rest])


def longer(row):
    return row + "00000000"


def swapped(row):
    name, y, dx = row.split()
    return f"{name} y={dx[4:]} d/x={y[2:]}"


def elements_reversed(row):
    name, y, *rest = row.split()
    bits = [y[2 + i : 10 + i] for i in range(0, len(y) - 2, 8)]
    return " ".join([name, "y=" + "".join(reversed(bits)), *rest])


def one_digit(row):
    """The lowest digit but four of the first number: 2**-11 of it or more."""
    place = row.index("y=") + 2 + 3
    digit = "0" if row[place] != "0" else "f"
    return row[:place] + digit + row[place + 1 :]


DIGITS = 8 * SMOKE.cotangent.size
TAMPERED = {
    "NaN": (nan, "special: output"),
    "wrong length": (longer, f"d/x has {DIGITS + 8} digits, expected {DIGITS}"),
    "truncated": (lambda row: row[: len(row) - 9], f"d/x has {DIGITS - 9} digits, expected {DIGITS}"),
    "gradient for output": (swapped, "violation: output"),
    "elements in another order": (elements_reversed, "violation: output"),
    "one digit": (one_digit, "violation: output[0, 0]"),
    "upper half": (lambda row: row.split()[0] + " " + row.split()[1], "d/x was not answered"),
    "error": (lambda row: row.split()[0] + " ERR out of memory", "out of memory"),
    "nothing": (lambda row: row.split()[0], "the answer cannot be read: it has no result"),
    "another id": (lambda row: "x" + row, "no requested case has this id"),
    "twice": (lambda row: f"{row}\n{row}", "was answered twice"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_answers_are_rejected(name, right):
    tamper, expected = TAMPERED[name]
    smoke = next(i for i, row in enumerate(right) if "/smoke/" in row)
    rows = [tamper(row) if i == smoke else row for i, row in enumerate(right)]
    code, out = verified(rows)
    assert code == 2, out
    assert expected in out
    assert "7 of 8 required cases pass" in out or name == "twice"


def test_answers_in_another_order_are_rejected(right):
    code, out = verified([right[0], right[2], right[1], *right[3:]])
    assert code == 2
    assert "which comes later: out of order" in out


def test_a_cut_stream_is_rejected(right):
    text = "\n".join(right)
    done = refnn_("verify", "-", given=text[: len(text) - 20])
    assert done.returncode == 2
    assert "7 of 8 required cases pass" in done.stdout


def test_skips_are_not_among_those_that_pass(right):
    rows = [*right[:3], *(f"{row.split()[0]} SKIP later" for row in right[3:])]
    code, out = verified(rows)
    assert code == 0, out
    assert "2 of 8 required cases pass (25.0%), 6 not supported" in out
    assert verified(rows, "--min-cases", "3")[0] == 2
    assert verified([f"{row.split()[0]} SKIP later" if i else row for i, row in enumerate(right)])[0] == 3


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c[:-1] + ("0" if c[-1] != "0" else "1"), "the requests were changed, or made from others"),
        (lambda c: c.replace("cases=8", "cases=7"), "the requests were changed, or made from others"),
        (lambda c: c.replace("of=softmax", "of=sofmax"), "unknown op 'sofmax', did you mean 'softmax'"),
        (lambda c: c.replace("# refnn 1", "# refnn 2"), "expected that of protocol 1"),
        (lambda c: c.replace("dtype=float32", "dtype=f32"), "dtype 'f32' is not one of"),
    ],
)
def test_a_tampered_comment_is_an_error(change, expected, right):
    code, out = verified([change(right[0]), *right[1:]])
    assert code == 1
    assert expected in out and out.count("\n") == 1


def test_another_dtype_than_was_asked_for_is_an_error(right, capsys, monkeypatch):
    rows = "".join(f"{row}\n" for row in right).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(rows)))
    assert cli.main(["verify", "-", "--dtype", "float64"]) == 1
    assert "--dtype is float64, but the requests were made in float32" in capsys.readouterr().err


def test_outputs_alone_are_asked_for_with_forward(tmp_path):
    asked = refnn_("gen", "softmax", "--lines", "--dtype", "float32", "--forward").stdout
    assert all(row.endswith("?y") for row in asked.splitlines()[1:])
    done = subprocess.run(FORMS["lines"].split(), input=asked, capture_output=True, text=True)
    code, out = verified(done.stdout.splitlines(), "--out", str(tmp_path / "r.jsonl"))
    assert code == 0, out
    back = loads((tmp_path / "r.jsonl").read_text())
    assert {r.what for r in back.results} == {"output"}
    assert back.passed == back.required


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("gen", "softmax", "--lines", "--dtype", "float16"), "no fixture of 'softmax' in float16 is selected"),
        (("gen", "relu", "--lines", "--family", "network"), "no fixture of 'relu' in family network is selected"),
        (("verify", "refnn", "--ops", "zz*"), "no fixture of 'zz*' is selected: nothing was checked"),
        (("export", "zz*", "--to", "npz", "--out", "x"), "no fixture of 'zz*' is selected: nothing was written"),
    ],
)
def test_an_empty_selection_ends_in_3(words, expected, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*words]) == 3
    printed = capsys.readouterr()
    assert expected in printed.err and not printed.out and printed.err.count("\n") == 1
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("gen", "sofmax", "--lines"), "unknown op 'sofmax', did you mean 'softmax'"),
        (("gen", "softmax", "--lines", "--dtype", "f32"), "dtype 'f32' is not one of"),
        (("gen", "softmax", "--lines", "--family", "easy"), "unknown family 'easy', known: "),
        (("gen", "softmax", "--lines", "--case", "softmax/x"), "no case of this selection has the id 'softmax/x'"),
        (("gen",), "expected one of: refnn gen OP --lines"),
        (("gen", "softmax", "--all", "--out", "x"), "expected one of: refnn gen OP --lines"),
        (
            ("gen", "softmax", "--lines", "--out", "x"),
            "--lines prints requests, and --all and --out write fixture files",
        ),
        (("gen", "softmax", "--out", "x", "--dtype", "float32"), "--dtype selects requests, so it needs --lines"),
        (("gen", "digits_mpl", "--lines"), "unknown op 'digits_mpl', did you mean the network 'digits_mlp'?"),
        (("verify", "-", "--ops", "softmax"), "--ops selects requests: give it to refnn gen"),
        (("verify", "torch", "--out", "no/run.jsonl"), "cannot write 'no/run.jsonl': No such file or directory"),
        (("verify", "torhc"), "is not one of torch, refnn, module:object, cmd:PROGRAM, lines:PROGRAM"),
        (("verify", "torch", "--accept", "anything"), "accept has 'anything', expected some of"),
        (("verify", "math:pi"), "is a float, expected a mapping from op names"),
        (("verify", "no_such_module:x"), "importing 'no_such_module' raised ModuleNotFoundError"),
        (("verify", "cmd:./no-such-program"), "cannot be run: No such file or directory"),
        (("verify", "-", "--xfails", "/no/such/file"), "cannot read the expected failures '/no/such/file'"),
        (("export", "softmax", "--to", "onnx", "--out", "-"), "--to is 'onnx', expected one of c-header, npz"),
    ],
)
def test_a_mistake_gets_one_sentence(words, expected, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = cli.main([*words])
    printed = capsys.readouterr()
    assert code == 1
    assert expected in printed.err + printed.out
    assert (printed.err + printed.out).count("\n") == 1
