"""Kernels that do a part of an op: what is passed to them, what counts as not supported, and how a report says it."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import refnn
from refnn import cli
from refnn.judging import groups as words
from refnn.judging.call import Skipped, passed
from refnn.judging.families import NAMES
from refnn.judging.groups import groups, lacking, named, unmet
from refnn.ops import OPS
from refnn.report import Report
from refnn.report.compare import compare
from refnn.report.lines import dumps, loads
from refnn.report.profiles import PROFILES, SPECIAL
from refnn.report.words import by_cause, headline, support

F32 = "float32"


def conv(x: Any, w: Any, b: Any = None, stride: int = 1, padding: int = 0) -> Any:
    """A convolution of batches, with one number of padding."""
    if x.ndim == 3:
        refnn.skip("unbatched input")
    if not isinstance(padding, int):
        raise NotImplementedError("padding that is no number")
    return refnn.conv2d(x, w, b, stride=stride, padding=padding)


@pytest.fixture(scope="module")
def partly() -> Report:
    return refnn.check("conv2d", forward=conv, families=["normal", "grid"])


def case(op: str, **where: Any) -> refnn.Case:
    return next(refnn.cases(op, F32, families=["normal"], where=where))


# --- what is passed --------------------------------------------------------------------------------------------------


def test_a_default_is_passed_only_to_a_signature_that_names_it() -> None:
    op = OPS["logsumexp"]
    x = np.zeros((2, 3), F32)
    assert passed(lambda x: x, op, [x], {"axis": -1, "keepdims": False})[1] == {}
    assert passed(lambda x, axis: x, op, [x], {"axis": -1, "keepdims": False})[1] == {"axis": -1}
    assert passed(lambda x, **more: x, op, [x], {"axis": -1, "keepdims": False})[1] == {"axis": -1, "keepdims": False}
    assert passed(max, op, [x], {"axis": 0, "keepdims": False})[1] == {"axis": 0, "keepdims": False}  # no signature
    assert passed(lambda x, dim: x, op, [x], {"axis": 1, "keepdims": False}, {"axis": "dim"})[1] == {"axis": 1}


def test_an_input_behind_a_parameter_is_passed_by_name() -> None:
    op, x, weight, bias = OPS["layer_norm"], *np.ones((3, 4), F32)
    params = {"normalized_shape": (4,), "eps": 1e-5}

    def torchs(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
        raise NotImplementedError

    by_name = {"weight": weight, "bias": bias, **params}
    arrays, named = passed(torchs, op, [x, weight, bias], params)
    assert len(arrays) == 1 and arrays[0] is x and all(named[n] is by_name[n] for n in by_name)
    # Where the names are others, the places decide.
    arrays, named = passed(lambda x, w, b, normalized_shape: x, op, [x, weight, bias], params)
    assert [id(a) for a in arrays] == [id(a) for a in (x, weight, bias)] and named == {"normalized_shape": (4,)}


def test_what_a_signature_lacks_is_declared_before_the_call() -> None:
    def no(*_: Any) -> Any:
        raise AssertionError("it was called")

    for function, where, says in (
        (lambda x, axis=-1: no(), {"keepdims": True}, "keepdims"),
        (lambda x, keepdims=False: no(), {"axis": 0}, "axis other than -1"),
    ):
        found = case("logsumexp", **where)
        with pytest.raises(Skipped, match=says) as caught:
            passed(function, found.op, found.inputs, found.params)
        assert caught.value.declared
    report = refnn.check("conv2d", forward=lambda x, weight: no(), families=["normal"], where={"bias": "real"})
    assert not report.ok and set(report.unsupported) == {"bias"} and not report.undeclared and not report.findings


def test_an_absent_input_at_the_end_is_not_passed_to_who_does_not_take_it() -> None:
    assert refnn.check(
        "linear", forward=lambda x, weight: refnn.linear(x, weight), families=["normal"], where={"bias": None}
    ).ok


def test_the_place_of_a_parameter_is_no_place_of_an_input() -> None:
    report = refnn.check(
        "conv2d", forward=lambda x, w, stride=1: refnn.conv2d(x, w, stride=stride), families=["normal"]
    )
    assert not report.findings and "bias" in report.unsupported


def test_arrays_are_compared_with_defaults() -> None:
    report = refnn.check(
        "cross_entropy", forward=lambda x, t: refnn.cross_entropy(x, t), families=["normal"], where={"rank": 2}
    )
    assert report.ok and {"weight", "reduction='sum'"} <= set(report.unsupported)


# --- what is not supported -------------------------------------------------------------------------------------------


def test_what_is_not_supported_stands_apart(partly: Report) -> None:
    found = partly.unsupported
    assert partly.ok and not partly.findings
    assert {"unbatched input", "padding that is no number", "groups other than 1"} <= set(found)
    assert sum(found.values()) == len(partly.skips) and partly.passed == partly.required - len(partly.skips)
    first = str(partly).splitlines()[0]
    assert f"{partly.passed} of {partly.required} cases, {len(partly.skips)} not supported: " in first
    assert "unbatched input (2)" in first


def test_no_other_exception_is_a_skip() -> None:
    def raises(x: Any) -> Any:
        raise TypeError("f() got an unexpected keyword argument 'axis'")

    report = refnn.check("relu", forward=raises, families=["normal"])
    assert not report.ok and not report.skips and report.count("error") == report.cases


def test_the_output_is_judged_where_only_the_gradient_is_not_supported() -> None:
    def vjp(g: Any, x: Any) -> Any:
        raise NotImplementedError

    report = refnn.check("relu", forward=lambda x: np.maximum(x, 0), vjp=vjp, where={"rank": 1}, families=["normal"])
    assert {r.what for r in report.results} == {"output"} and report.passed == 0 and report.cases == 4
    assert all(k.startswith("gradient: ") for k in report.unsupported) and not report.ok
    wrong = refnn.check("relu", forward=lambda x: x * 2, vjp=vjp, families=["normal"])
    assert wrong.count("violation") > 0


def test_most_of_it_undeclared_is_not_ok_and_declared_it_is() -> None:
    def plain(x: Any, axis: int = -1) -> Any:
        if x.ndim != 3:
            raise NotImplementedError("three axes only")
        return refnn.softmax(x, axis=axis)

    found = refnn.check("softmax", forward=plain, families=["normal"])
    assert not found.ok and not found.findings and found.mostly_undeclared
    for text in (str(found), found.to_markdown(), found.to_junit(), headline(found)):
        assert "which was not declared" in text
    assert "<failure" in found.to_junit()
    declared = refnn.check("softmax", forward=plain, families=["normal"], supports={"rank": 3})
    assert declared.ok and not declared.undeclared
    assert ", but supports only 8 of" in str(declared).splitlines()[0]
    assert set(declared.unsupported) == {"1-d input", "2-d input", "4-d input", "5-d input"}


def test_supports_takes_a_predicate_that_gives_the_reason() -> None:
    report = refnn.check(
        "softmax",
        forward=refnn.softmax,
        families=["normal", "nonfinite"],
        supports=lambda c: c.inputs[0].ndim == 3 or "three axes only",
    )
    assert report.ok and set(report.unsupported) == {"three axes only"}
    silent = refnn.check(
        "softmax", forward=refnn.softmax, families=["normal"], supports=lambda c: c.params["axis"] == -1
    )
    assert silent.ok and "axis other than -1" in silent.unsupported


def test_groups_name_what_no_supported_case_has() -> None:
    every = list(refnn.cases("conv2d", F32, families=["normal"]))
    out = [c for c in every if c.inputs[0].ndim == 3 or c.params["groups"] != 1]
    said = named(out, [c for c in every if c not in out])
    assert set(said) == {c.id for c in out} and set(said.values()) == {"unbatched input", "groups other than 1"}
    out = [c for c in every if "padding in pairs" in groups(c)]  # of which some have a stride that others have, too
    assert set(named(out, [c for c in every if c not in out]).values()) == {"padding in pairs"}
    assert named(out, every) == {c.id: " with ".join(groups(c)) for c in out}


@pytest.mark.parametrize("op", OPS)
def test_a_kernel_that_does_a_part_conforms_with_a_list_of_what_it_does_not(op: str) -> None:
    """Batches, parameters of one number each (but for windows in three axes), and nothing else is ever asked of it."""
    odd = ["unbatched", "0-d", "empty", "no bias", "non-finite input"]

    def pairs(c: refnn.Case) -> list[str]:
        found = [g for g in groups(c) if g.endswith(("in pairs", "for each axis")) or g.startswith("padding='")]
        return [g for g in found if not ("pool3d" in op and g.startswith(("kernel size", "stride")))]

    def supports(c: refnn.Case) -> bool | str:
        return next(iter(pairs(c)), None) or lacking(odd)(c)

    def forward(*inputs: Any, **params: Any) -> Any:
        assert inputs[0].ndim > 0 and inputs[0].size and inputs[0].dtype == np.float32
        tuples = [n for n, v in params.items() if isinstance(v, tuple) and n != "normalized_shape"]
        assert "pool3d" in op or not tuples
        assert not isinstance(params.get("padding"), str)
        return OPS[op](*inputs, **params)

    report = refnn.check(op, forward=forward, vjp=OPS[op].vjp, families=["normal", "grid"], supports=supports)
    assert report.ok, str(report)
    assert all(k and len(k) < 40 and "\n" not in k for k in report.unsupported)
    if report.skips:
        assert support(report) in str(report).splitlines()[0]


# --- every form ------------------------------------------------------------------------------------------------------


def test_every_form_of_the_report_says_it(partly: Report) -> None:
    for text in (partly.to_markdown(), partly.to_html(), partly.to_findings(), partly.to_junit()):
        assert "unbatched input" in text
    assert loads(dumps(partly)).unsupported == partly.unsupported
    assert loads(dumps(partly)).undeclared == partly.undeclared != set()
    assert partly.header["unsupported"] == partly.unsupported and "padding" in partly.header["supported"]


def test_compare_sees_the_support_shrink(partly: Report) -> None:
    before = refnn.check("conv2d", forward=refnn.conv2d, families=["normal", "grid"])
    changes = compare(before, partly)
    assert changes.worse and "unbatched input: supported before, not now" in changes.lost
    assert not any("supported" in row for row in compare(partly, before).lost)


def test_errors_of_one_cause_are_said_once() -> None:
    def raises(x: Any) -> Any:
        if x.ndim > 1:
            raise ValueError(f"no shape {x.shape} here")
        return np.maximum(x, 0).astype("float64")

    report = refnn.check("relu", forward=raises)
    text = str(report)
    assert len(report.findings) > 60 and len(by_cause(report.findings)) == 2
    assert text.count("Error: no shape") == 1 and text.count("output has dtype float64") == 1
    assert "error in " in text and text.count("replay") == 2
    assert sum(f.count for f in by_cause(report.findings)) == report.cases
    page = report.to_html()
    assert page.count("Error: no shape") == 2  # above, as one of the worst, and among the findings
    assert "alike" in page and report.to_markdown().count("Error: no shape") == 1


def test_the_report_says_what_it_covered() -> None:
    text = str(refnn.check("softmax", forward=refnn.softmax))
    assert "covered: 84 cases in float32, all input families" in text or "all input families, rank" in text
    few = str(refnn.check("softmax", forward=refnn.softmax, families=["normal"]))
    assert "input families normal, no special values" in few


# --- selections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "where", "kept"),
    [
        ("cross_entropy", {"target": "probabilities"}, lambda c: c.inputs[1].dtype.kind == "f"),
        ("cross_entropy", {"target": {"classes", "ignored"}}, lambda c: c.inputs[1].dtype.kind == "i"),
        ("cross_entropy", {"weight": lambda w: w is not None}, lambda c: c.params["weight"] is not None),
        ("conv2d", {"rank": 4, "padding": lambda p: isinstance(p, int)}, None),
        ("conv2d", {"groups": [2, 3]}, lambda c: c.params["groups"] in (2, 3)),
        ("conv2d", {"bias": None}, lambda c: c.inputs[2] is None),
        ("conv2d", {"padding": (2, 1)}, lambda c: c.params["padding"] == (2, 1)),
        ("conv2d", {"group": "unbatched"}, lambda c: c.inputs[0].ndim == 3),
        ("conv2d", {"group": lambda all: "layout F" not in all}, lambda c: c.layout != "F"),
        ("softmax", {"shape": (5, 7), "family": ["normal", "grid"]}, lambda c: c.inputs[0].shape == (5, 7)),
        ("softmax", lambda c: c.inputs[0].size == 4, lambda c: c.inputs[0].size == 4),
    ],
)
def test_where_selects(op: str, where: Any, kept: Any) -> None:
    every, found = list(refnn.cases(op, F32)), list(refnn.cases(op, F32, where=where))
    assert 0 < len(found) < len(every)
    if kept is not None:
        families = where["family"] if isinstance(where, dict) and "family" in where else NAMES
        assert {c.id for c in found} == {c.id for c in every if kept(c) and c.family in families}
    chosen = refnn.check(op, forward=OPS[op], where=where, inputs=every)
    assert chosen.required == len(found)


def test_what_cannot_be_selected_by_is_named() -> None:
    with pytest.raises(TypeError, match=r"conv2d has no parameter 'pad' .* its inputs x, weight, bias, and shape"):
        list(refnn.cases("conv2d", F32, where={"pad": 1}))
    with pytest.raises(TypeError, match="has no parameter 'pad'"):
        refnn.check("conv2d", forward=refnn.conv2d, supports={"pad": 1})


def test_the_examples_of_groups_give_what_they_show() -> None:
    assert doctest.testmod(words, extraglobs={"refnn": refnn}).failed == 0


def test_every_unmet_condition_has_words() -> None:
    first = case("cross_entropy", target="classes")
    wheres = {"target": "probabilities", "rank": 7, "shape": (1,), "family": "grid", "reduction": "sum"}
    said = {k: unmet(first, {k: v}) for k, v in wheres.items()}
    assert said["target"] == "classes as target" and said["family"] == "family normal" and all(said.values())


# --- profiles --------------------------------------------------------------------------------------------------------


def relu_without_nan(x: Any) -> Any:
    return np.fmax(x, 0).astype(x.dtype)


def test_profiles_name_families_that_exist() -> None:
    for p in PROFILES.values():
        assert p.apart <= set(NAMES) and (p.families or set()) <= set(NAMES)
    assert set(NAMES) >= SPECIAL


def test_special_values_stand_apart_for_who_writes_a_kernel() -> None:
    assert not refnn.check("relu", forward=relu_without_nan).ok
    report = refnn.check("relu", forward=relu_without_nan, profile="kernel")
    assert report.ok and report.count("special") > 0
    text = str(report)
    assert " special)" not in text.splitlines()[0]
    assert "special values, which do not decide here: do not conform" in text
    for form in (report.to_markdown(), report.to_html()):
        assert "which do not decide here" in form
    assert "<failure" not in report.to_junit() and loads(dumps(report)).ok
    wrong = refnn.check("relu", forward=lambda x: relu_without_nan(x) * 2, profile="kernel")
    assert not wrong.ok
    special = refnn.check("relu", forward=relu_without_nan, families=["special"], profile="kernel")
    assert not special.ok, "only what does not decide was checked"


def test_teaching_is_in_words() -> None:
    textbook = refnn.check("tanh", forward=np.tanh, vjp=lambda g, x: (g * (1 - np.tanh(x) ** 2),), profile="teaching")
    text = str(textbook)
    assert {r.family for r in textbook.results} == {"grid", "normal"} and not textbook.ok
    assert "lose digits, as another known formula does" in text and "would be right" in text
    assert not any(word in text for word in ("explained", "violation", "allowance"))


def test_an_unknown_profile_is_named() -> None:
    with pytest.raises(LookupError, match="unknown profile 'kernels', known: framework, kernel, teaching"):
        refnn.check("relu", forward=refnn.relu, profile="kernels")


# --- the command line ------------------------------------------------------------------------------------------------


def test_cases_are_listed_with_their_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cases", "conv2d", "--where", "family=normal", "--where", "groups=1"]) == 0
    out = capsys.readouterr().out
    assert "unbatched input" in out and "groups other than 1" not in out
    assert cli.main(["cases", "conv2d", "--where", "groups=77"]) == 3
    assert cli.main(["cases", "conv2d", "--where", "padding=@"]) == 1
    assert "'@' is not a value" in capsys.readouterr().err


def test_check_takes_where_without_and_profile(capsys: pytest.CaptureFixture[str]) -> None:
    words_ = ["check", "conv2d", "--impl", "refnn", "--where", "groups=1", "--where", "family=normal"]
    assert cli.main([*words_, "--without", "unbatched,empty"]) == 0
    out = capsys.readouterr().out
    assert "unbatched input (2)" in out and "empty batch (1)" in out
    assert cli.main([*words_, "--without", "unbathced"]) == 1
    assert "no case of conv2d is of this group" in capsys.readouterr().err
    assert cli.main(["check", "relu", "--impl", "refnn", "--profile", "teaching"]) == 0
    assert "relu in float32 is right" in capsys.readouterr().out
    assert cli.main(["check", "digits_mlp", "--impl", "refnn", "--where", "axis=1"]) == 1


# --- fixtures --------------------------------------------------------------------------------------------------------


def test_not_implemented_is_no_failure_of_the_suite(tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text(
        "import refnn\n"
        "def forward(x, axis=-1):\n"
        "    if axis != -1: raise NotImplementedError('another axis')\n"
        "    return refnn.softmax(x, axis=axis)\n"
        "found = {'softmax': (forward, refnn.softmax.vjp)}\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "refnn", "verify", "half:found", "--ops", "softmax"],
        **{"cwd": tmp_path, "capture_output": True, "text": True},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "not supported: another axis" in run.stdout


# --- PyTorch ---------------------------------------------------------------------------------------------------------


# What PyTorch 2.13 refuses by how an array lies in memory, which is no part of an op that a function could lack.
REFUSED = {
    "max_pool3d": {"raised RuntimeError: Unsupported memory format. Supports only ChannelsLast3d, Contiguous"},
    "nll_loss": {"raised RuntimeError: grad_input must be contiguous"},
}


def test_functions_of_pytorch_are_checked_as_they_are() -> None:
    """What PyTorch's own function does not do is declared; nothing else is an error, and the text is short."""
    torch = pytest.importorskip("torch")
    from refnn.witnesses.torch import FUNCTIONS

    own = {n: getattr(torch.nn.functional, n, None) or getattr(torch, n, None) for n in FUNCTIONS}
    for name, f in own.items():
        if f is None:
            continue
        report = refnn.check(name, f, framework="torch", families=["normal", "grid"])
        assert not report.undeclared and len(str(report).splitlines()) < 60 and len(str(report).splitlines()[0]) < 500
        errors = {f.message.splitlines()[0] for f in report.unexpected if f.verdict == "error"}
        assert errors <= REFUSED.get(name, set()), str(report)
        assert all(f.verdict in ("explained", "violation", "special", "error") for f in report.unexpected), str(report)
        if name in ("dropout", "rrelu"):
            assert "draws its own" in str(report) and not report.ok
        elif name.startswith("conv"):
            assert report.ok and "padding in pairs" in report.unsupported, str(report)


def test_a_function_of_tensors_is_given_what_its_signature_takes() -> None:
    torch = pytest.importorskip("torch")

    def softmax(x: Any, dim: int = -1) -> Any:
        return torch.softmax(x, dim)

    def last(x: Any) -> Any:
        return torch.softmax(x, -1)

    assert not refnn.check("softmax", softmax, framework="torch", families=["normal"]).skips
    report = refnn.check("softmax", last, framework="torch", families=["normal"])
    assert report.ok and set(report.unsupported) == {"axis other than -1"}


def test_skip_is_public() -> None:
    assert "skip" in refnn.__all__
    with pytest.raises(Exception, match="no such thing"):
        refnn.skip("no such thing")
    assert json.loads(json.dumps(refnn.check("relu", forward=refnn.relu).header["ordinary"]))[0] > 0
