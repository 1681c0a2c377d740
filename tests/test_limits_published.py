"""What is published of the limits: fresh, read back from its bytes, true of refnn, of PyTorch and of mpmath."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from marks import together

import refnn
from refnn import cli
from refnn.arithmetic.rounded import Rounded
from refnn.conformance import data
from refnn.formats import FORMATS, Format
from refnn.limits.boundaries import ELEMENTS, ROWS
from refnn.limits.rules import RULES
from refnn.limits.search import EACH, bisect, edge
from refnn.limits.softmaxes import SOFTMAXES, functions
from refnn.limits.subjects import Probe, probe
from refnn.models import default_model, model
from refnn.study.limits import (
    COTANGENT,
    MEASURED,
    PLOTTED,
    errors,
    main,
    measurement,
    page,
    row_at,
    theory,
)
from refnn.wire.encoding import encode

FOLDER = Path(__file__).parents[1] / "conformance" / "limits"
HINT = "run: python -m refnn.study.limits conformance/limits"
RULE = {r.name: r for r in RULES}


# --- freshness -------------------------------------------------------------------------------------------------------


def test_everything_published_is_what_the_command_writes(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 0
    written = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    committed = {p.name: p.read_bytes() for p in FOLDER.iterdir()}
    assert set(committed) == {*written, MEASURED}
    for name, content in written.items():
        assert committed[name] == content, f"{name}: {HINT} (the plot is matplotlib {matplotlib.__version__}'s)"


def test_the_command_refuses_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file")]) == 1
    assert main(["a", "b"]) == 1
    errs = capsys.readouterr().err
    assert "cannot be written" in errs and "at most one folder, got 2" in errs


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_published_edges_read_back(dtype: str) -> None:
    read = json.loads(data("limits", f"{dtype}.json").read_text())
    fmt = Format(read["format"], read["precision"], read["emin"], read["emax"])
    assert fmt == FORMATS[dtype]
    for rules, found in read["models"].items():
        assert model(rules).storage == fmt
        assert [e["name"] for e in found] == list(RULE)
        for e in found:
            last, after = float.fromhex(e["last"]), float.fromhex(e["next"])
            assert abs(fmt.index(after) - fmt.index(last)) == 1
            assert (last, after) == (edge(e["name"], rules).last, edge(e["name"], rules).next)
    assert {f"{EACH[dtype]}-ftz", EACH[dtype]} <= set(read["models"])


def test_the_page_answers_the_five_questions() -> None:
    text = page(None)
    questions = ("What happened?", "At which logit, in my format?", "Why not in the other format?")
    for question in (*questions, "Is my framework's function safe?", "What do I write instead?"):
        assert f"**{question}**" in text
    assert "Nothing was measured yet" in text
    assert "| 11.0938 | 89 | 88.7228 | 709.783 |" in text


# --- boundary cases --------------------------------------------------------------------------------------------------


def cases_of(dtype: str) -> list[dict[str, Any]]:
    read = json.loads(data("limits", f"{dtype}-cases.json").read_text())
    assert read["format"] == dtype
    return list(read["cases"])


def array(described: dict[str, Any], fmt: Format) -> np.ndarray:
    """An array from its bits, most significant digit first, through NumPy alone."""
    if "classes" in described:
        return np.array(described["classes"], np.int64).reshape(described["shape"])
    big = np.frombuffer(bytes.fromhex(described["bits"]), f">u{fmt.dtype.itemsize}")
    return big.astype(f"=u{fmt.dtype.itemsize}").view(fmt.dtype).reshape(described["shape"])


def user_case(described: dict[str, Any], fmt: Format) -> dict[str, Any]:
    inputs = tuple(array(x, fmt) for x in described["inputs"])
    return {"inputs": inputs, "cotangent": array(described["cotangent"], fmt), "params": described["params"]}


@pytest.mark.parametrize("dtype", FORMATS)
def test_there_is_a_case_on_either_side_of_every_limit_of_rows(dtype: str) -> None:
    found = cases_of(dtype)
    assert len({c["id"] for c in found}) == len(found)
    fmt = FORMATS[dtype]
    rows = {tuple(array(c["inputs"][0], fmt).astype(float).tolist()) for c in found if c["id"].endswith(",row")}
    alone = {x for c in found if "/all" in c["id"] for x in array(c["inputs"][0], fmt).astype(float).tolist()}
    for rule in RULES:
        if isinstance(rule.question, Probe):
            e = edge(rule.name, EACH[dtype])
            for x in (e.last, e.next):
                row = rule.question.row(x)
                assert not math.isfinite(x) or (row in rows if len(row) > 1 else x in alone), rule.name
    assert {c["op"] for c in found} == {*ROWS, *ELEMENTS}
    assert sum("acceptable" in c for c in found) >= 15


@pytest.mark.usefixtures("shared_judges")
@pytest.mark.parametrize("op", [*map(together, (*ROWS, *ELEMENTS))])
@pytest.mark.parametrize("dtype", FORMATS)
def test_refnn_conforms_at_every_boundary(op: str, dtype: str) -> None:
    own = refnn.ops[op]
    inputs = [user_case(c, FORMATS[dtype]) for c in cases_of(dtype) if c["op"] == op and "output" in c]
    report = refnn.check(op, forward=own, vjp=own.vjp, dtype=dtype, inputs=inputs)
    assert report.ok and report.elements > 0, str(report)


@pytest.mark.usefixtures("shared_judges")
@pytest.mark.parametrize("flush", [False, True], ids=["gradual", "flushed"])
@pytest.mark.parametrize("op", [*map(together, ROWS)])
@pytest.mark.parametrize("dtype", FORMATS)
def test_torch_is_inside_its_allowance_at_every_boundary(op: str, dtype: str, flush: bool) -> None:
    torch = pytest.importorskip("torch")
    from refnn.implementations import torch as adapter
    from refnn.witnesses.limits import flushing
    from refnn.witnesses.torch import FUNCTIONS

    forward, vjp = adapter.functions(refnn.ops[op], FUNCTIONS[op])

    def inside(f: Any) -> Any:
        def call(*args: Any, **params: Any) -> Any:
            with flushing(flush):
                return f(*args, **params)

        return call

    rules = default_model(dtype, "torch")
    if flush:
        base, _, row = rules.partition("@")
        rules = f"{base}-ftz@{row}"
    inputs = [user_case(c, FORMATS[dtype]) for c in cases_of(dtype) if c["op"] == op and "output" in c]
    # PyTorch differentiates logsumexp from its rounded output: a declared class, whose own limit the page tells, and
    # which has no bound where that rounding may be above 1. In 16 bits it stores the sum of exponentials.
    names = {"exp(x - y)"} if op == "logsumexp" else set()
    names |= {"stored sum", "log_softmax: stored sum"} if dtype in ("float16", "bfloat16") else set()
    accept = ("explained",) if names else ()
    lost = [c for c in inputs if op == "logsumexp" and _largest(c) * FORMATS[dtype].unit_roundoff > 1]
    kept = [c for c in inputs if not any(c is other for other in lost)]
    options: dict[str, Any] = {"dtype": dtype, "model": rules, "accept": accept}
    report = refnn.check(op, forward=inside(forward), vjp=inside(vjp), inputs=kept, **options)
    assert {f.name for f in report.findings if f.verdict == "explained"} <= names
    assert report.ok and report.elements > 0, str(report)
    if lost:
        assert not refnn.check(op, forward=inside(forward), vjp=None, inputs=lost, **options).findings
        whole = refnn.check(op, forward=inside(forward), vjp=inside(vjp), inputs=lost, **options)
        assert whole.count("out_of_scope") > 0 and not whole.unexpected and "exp(x - y)" in str(whole)
    assert torch.tensor(2.0**-149).item() > 0  # flushing ended


def _largest(case: Mapping[str, Any]) -> float:
    x = np.abs(np.asarray(case["inputs"][0], np.float64))
    return float(np.max(x, where=np.isfinite(x), initial=0.0))


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_published_outputs_are_mpmaths(dtype: str) -> None:
    """Softmax and its logarithm of every row, at 3000 bits, by no code of refnn: no neighbour is nearer."""
    fmt, seen = FORMATS[dtype], 0
    for c in cases_of(dtype):
        if c["op"] not in ("softmax", "log_softmax") or "output" not in c or not c["id"].endswith(",row"):
            continue
        row, got = array(c["inputs"][0], fmt).astype(float), array(c["output"], fmt).astype(float)
        with mpmath.workprec(3000):
            x = [mpmath.mpf(v) for v in row]
            e = [mpmath.exp(v - max(x)) for v in x]
            true = [v / sum(e) for v in e]
            if c["op"] == "log_softmax":
                true = [v - max(x) - mpmath.log(sum(e)) for v in x]
            for t, y in zip(true, got.tolist(), strict=True):
                if math.isinf(y):
                    assert abs(t) >= mpmath.mpf(fmt.overflow_threshold.numerator)
                    continue
                error = abs(t - mpmath.mpf(y))
                for beside in (fmt.number(fmt.index(y) - 1), fmt.number(fmt.index(y) + 1)):
                    assert math.isinf(beside) or error <= abs(t - mpmath.mpf(beside)), c["id"]
                    seen += 1
    assert seen > 100


@pytest.mark.parametrize("dtype", FORMATS)
def test_which_gradients_stay_finite_and_which_values_do_not(dtype: str) -> None:
    """Of finite logits every gradient is finite; a logarithm is infinite only where x - (-x) is."""
    fmt, infinite = FORMATS[dtype], set()
    for c in cases_of(dtype):
        if "output" not in c:
            continue
        assert not any(np.isnan(array(v, fmt)).any() for v in (c["output"], *c["grads"]) if v)
        if c["op"] != "binary_cross_entropy_with_logits":  # its gradient of a target is the logit
            assert all(np.isfinite(array(v, fmt).astype(float)).all() for v in c["grads"] if v), c["id"]
        if np.isinf(array(c["output"], fmt).astype(float)).any():
            infinite.add(c["id"].split("/", 2)[2].partition(",")[0])
    assert infinite == {"limits/log-softmax-finite/next", "limits/softmax-finite/last"}


def test_bits_are_those_of_the_number() -> None:
    numbers = np.array([0.0, -0.0, 1.0, -math.inf, math.nan], np.float32)
    assert encode(numbers) == "00000000800000003f800000ff8000007fc00000"
    assert array({"shape": [5], "bits": encode(numbers)}, FORMATS["float32"]).tobytes() == numbers.tobytes()


# --- the four softmaxes ----------------------------------------------------------------------------------------------


def test_each_softmax_breaks_within_an_ulp_of_theory() -> None:
    """The rows of the plot: NumPy's own float32, with its own exp, against theory from Arb."""
    fmt, ends, naive = FORMATS[PLOTTED], theory(), functions("naive")[0]

    def value(t: float) -> np.ndarray:
        return naive(np.array(row_at(t)).astype(fmt.dtype))

    for end, alive in (("sum", lambda t: value(t)[0] > 0), ("exp", lambda t: not np.isnan(value(t)[0]))):
        last, _ = bisect(fmt, alive, 0.0, 1)
        assert abs(fmt.index(last) - fmt.index(ends[end])) <= 1
        ideal, _ = bisect(
            fmt,
            lambda t, end=end: (
                (errors("naive", row_at(t))[0] < 0.5) if end == "sum" else not math.isnan(errors("naive", row_at(t))[0])
            ),
            0.0,
            1,
        )
        assert ideal == ends[end]
    assert ends["sum"] < ends["exp"]


@pytest.mark.parametrize("name", SOFTMAXES)
def test_the_sound_ones_never_break(name: str) -> None:
    """Inside the worst case of the shifted one at every height; the others are outside from their limits on."""
    for t in (1.0, 80.0, 88.5, 89.0, 1e3, 2.0**24, 2.0**100, FORMATS[PLOTTED].max):
        x = np.array(row_at(t)).astype(PLOTTED)
        allowed = refnn.allowance("softmax", x, cotangent=np.array(COTANGENT, PLOTTED), model=PLOTTED)
        bounds = (allowed.output, allowed.grads[0])
        inside = [e <= b.worst.max() for e, b in zip(errors(name, row_at(t)), bounds, strict=True) if b is not None]
        assert inside == [name in ("shifted", "online") or t <= 80] * 2, t


def test_the_plot_says_what_it_shows() -> None:
    text = (FOLDER / "softmaxes.svg").read_text()
    assert all(name in text for name in (*SOFTMAXES, "sum infinite", "exp infinite", "error of the gradient"))


# --- PyTorch ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["exp-finite", "softmax-finite", "log-softmax-finite", "softmax-grad-nonzero"])
@pytest.mark.parametrize("layout", ["single", "vector", "strided"])
def test_torch_breaks_where_it_must(name: str, layout: str) -> None:
    pytest.importorskip("torch")
    from refnn.witnesses.limits import measured

    for dtype in FORMATS:
        found = measured(RULE[name], dtype, layout)
        assert found is not None and found[0] == edge(name, EACH[dtype]).last, dtype


def test_flushing_changes_what_torch_gives_and_ends() -> None:
    torch = pytest.importorskip("torch")
    from refnn.witnesses.limits import flushing, values

    p, fmt = RULE["softmax-nonzero"].question, FORMATS["float32"]
    assert isinstance(p, Probe)
    assert min(values(p, fmt, 100.0, "vector", False)) > 0
    assert values(p, fmt, 100.0, "single", True) == [0.0]
    assert set(values(p, fmt, 100.0, "vector", True)) == {0.0}
    with pytest.raises(KeyError), flushing(True):
        raise KeyError
    assert (torch.tensor([2.0**-140]) * 0.5).item() == 2.0**-141
    assert probe(Rounded("float32"), p, 100.0) > 0 == probe(Rounded("float32-ftz"), p, 100.0)


def test_what_was_measured_covers_every_function_and_layout() -> None:
    read = measurement()
    assert read is not None and set(FORMATS) | {"float32-ftz", "float64-ftz"} == set(read["limits"])
    safe = ("softmax-finite", "log-softmax-finite", "logsumexp-finite", "cross-entropy-finite", "softmax-nonzero")
    for rules, every in read["limits"].items():
        by_name = {e["name"]: e["measured"] for e in every}
        assert list(by_name) == list(RULE)
        assert sum(map(bool, by_name.values())) >= 45
        assert all(set(m) == {"single", "vector", "strided"} for m in by_name.values() if m)
        for name in safe:  # what the page says of PyTorch
            assert all(m["ulps"] == 0 for m in by_name[name].values()), (rules, name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torchs_binary_cross_entropy_hides_the_limit(dtype: str) -> None:
    """What the page says: from the limit of -log(1 - sigmoid(x)) on, the loss is 100 and its gradient 0."""
    torch = pytest.importorskip("torch")
    e = edge("bce-of-sigmoid-finite", dtype)
    for x, hidden in ((e.last, False), (e.next, True)):
        logit = torch.tensor([x], dtype=getattr(torch, dtype), requires_grad=True)
        loss = torch.nn.functional.binary_cross_entropy(torch.sigmoid(logit), torch.zeros_like(logit))
        (grad,) = torch.autograd.grad(loss, logit)
        assert ((loss.item(), grad.item()) == (100.0, 0.0)) == hidden


finite = st.sampled_from([*FORMATS]).flatmap(
    lambda d: st.tuples(
        st.just(d),
        st.lists(
            st.integers(-FORMATS[d].index(FORMATS[d].max), FORMATS[d].index(FORMATS[d].max)), min_size=2, max_size=6
        ),
    )
)


@settings(deadline=None)
@given(finite)
def test_torchs_softmax_is_inside_its_allowance_at_any_bits(drawn: tuple[str, list[int]]) -> None:
    """Rows of any finite bit patterns, value and gradient; where a difference overflows nothing is claimed."""
    pytest.importorskip("torch")
    from refnn.witnesses.torch import FUNCTIONS

    dtype, places = drawn
    x = np.array([FORMATS[dtype].number(i) for i in places]).astype(FORMATS[dtype].dtype)
    g = np.array([(-1.0) ** i * 2.0 ** (i % 3) for i in range(x.size)]).astype(x.dtype)
    case = {"inputs": (x,), "cotangent": g}
    report = refnn.check("softmax", FUNCTIONS["softmax"], framework="torch", dtype=dtype, inputs=case)
    assert not report.findings or {f.verdict for f in report.findings} <= {"convention"}, str(report)


@settings(deadline=None)
@given(st.sampled_from(["float32", "float64"]), st.data())
def test_the_naive_softmax_breaks_at_any_bits_where_theory_says(dtype: str, data_: st.DataObject) -> None:
    """Logits near the limits: it is a distribution exactly if the exact sum of exponentials is neither beyond the
    threshold nor below every number. Where the sum is so near the threshold that its roundings decide, nothing is
    said: two steps of the largest logit, which are many ulps of its exponential."""
    fmt = FORMATS[dtype]
    low, high = edge("exp-nonzero", dtype).last, edge("exp-finite", dtype).last
    near = st.one_of(st.integers(-3, 3).map(lambda i: fmt.number(fmt.index(high) + i)), st.floats(2 * low, 1.5 * high))
    row = data_.draw(st.lists(near.map(lambda v: float(np.array(v).astype(fmt.dtype))), min_size=1, max_size=5))
    with mpmath.workprec(200):
        total = mpmath.fsum(mpmath.exp(mpmath.mpf(v)) for v in row)
        share = total / mpmath.mpf(fmt.overflow_threshold.numerator)
        assume(abs(share - 1) > mpmath.mpf(2 * fmt.ulp(max(row))))
    y = functions("naive")[0](np.array(row).astype(fmt.dtype))
    sound = bool(np.isfinite(y).all() and y.sum() > 0)
    assert sound == (share < 1 and max(row) >= low), row


# --- the command -----------------------------------------------------------------------------------------------------


def test_limits_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["limits", "--format", "float16-each-op"]) == 0
    printed = capsys.readouterr().out
    assert "exp(x) is finite" in printed and "11.0859375" in printed and "11.09375" in printed
    assert "float16-each-op: stored in float16, computed in float16" in printed


def test_limits_gives_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["limits", "--json", "--format", "float32", "--format", "float32-ftz"]) == 0
    read = json.loads(capsys.readouterr().out)["limits"]
    assert list(read) == ["float32", "float32-ftz"]
    assert {e["name"]: e["last"] for e in read["float32"]}["exp-finite"] == (88.72283172607422).hex()


def test_limits_measures_torch(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert cli.main(["limits", "--against", "torch"]) == 0
    printed = capsys.readouterr().out
    assert "88.72283 (+0 ulp)" in printed and "torch, strided" in printed
    assert cli.main(["limits", "--against", "torch", "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read["against"].startswith("torch ") and read["limits"]["float32"][0]["measured"]["single"]["ulps"] == 0


@pytest.mark.parametrize(
    ("args", "expected"), [(["--format", "float31"], "float31"), (["--against", "abacus"], "abacus")]
)
def test_a_mistake_in_limits_gets_a_sentence(
    capsys: pytest.CaptureFixture[str], args: list[str], expected: str
) -> None:
    assert cli.main(["limits", *args]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and expected in err
