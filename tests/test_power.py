"""The score: what counts as killed, as covered, as a false alarm; what each baseline is blind to; the command."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from marks import slow

import refnn
from refnn import cli
from refnn.formats import FORMATS
from refnn.ops import OPS
from refnn.study.power import alarms, everyday
from refnn.study.power.alarms import Alarms, on_cases, on_layer
from refnn.study.power.alarms import page as alarm_page
from refnn.study.power.catalogue import MUTANTS
from refnn.study.power.mutant import Mutant, elementwise, sloped
from refnn.study.power.page import page as power_page
from refnn.study.power.page import revealed
from refnn.study.power.right import Right, classes, formulas, of_numpy, of_torch
from refnn.study.power.score import controls, mutated, objections, revealing, run, search, steps
from refnn.study.power.score import refnn as default_check

baselines = pytest.importorskip("refnn.study.power.baselines")

BASELINES, FUNCTIONS, torch_functions = baselines.BASELINES, baselines.FUNCTIONS, baselines.adapter.functions
PAGES = Path(__file__).parents[1] / "conformance" / "power"

NO_SLOPE = Mutant("silu", "", "no slope", vjp=sloped(lambda x: 0 * x))
DOUBLED = Mutant(
    "silu",
    "",
    "doubled",
    **elementwise(lambda x: 2 * refnn.silu(x), lambda x: 2 * refnn.silu.vjp(np.ones_like(x), x)[0]),
)


def named(name: str) -> Mutant:
    (found,) = [m for m in MUTANTS if m.name == name]
    return found


def raising(*_: Any) -> None:
    raise AssertionError("no")


def refusing(*_: Any) -> bool:
    return False


def uncovering(*_: Any) -> None:
    raise NotImplementedError


def silent(*_: Any) -> None:
    return None


# --- the score -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checker", [raising, refusing])
def test_who_objects_to_everything_kills_nothing(checker: Any) -> None:
    tally = run([NO_SLOPE], {"it": checker}).tallies["it"]
    assert not tally.killed and tally.missed == {NO_SLOPE}
    assert len(tally.false_alarms) == tally.controls > 5


def test_who_never_objects_kills_nothing() -> None:
    tally = run([NO_SLOPE], {"it": silent}).tallies["it"]
    assert not tally.killed and not tally.false_alarms


def test_an_op_that_is_not_covered_is_not_counted() -> None:
    score = run([NO_SLOPE], {"it": uncovering})
    assert score.tallies["it"].uncovered == {NO_SLOPE} and not score.tallies["it"].controls
    assert "\n| **all** |  |\n" in power_page(score)


def test_a_case_of_the_original_that_is_objected_to_is_void() -> None:
    """It kills by the other cases alone."""

    class Strict:
        def objections(self, op: str, forward: Any, vjp: Any, dtype: str) -> Iterator[str]:
            yield "too strict"
            if not vjp(np.ones(3, dtype), np.ones(3, dtype))[0].any():
                yield "zero"

    score = run([NO_SLOPE, DOUBLED], {"it": Strict()}, dtypes=())
    assert score.tallies["it"].killed == {NO_SLOPE}
    assert score.tallies["it"].missed == {DOUBLED}


def test_the_default_check_kills_and_is_silent() -> None:
    score = run([NO_SLOPE, DOUBLED], {"refnn": default_check}, dtypes=["float32"])
    tally = score.tallies["refnn"]
    assert tally.killed == {NO_SLOPE, DOUBLED} and not tally.false_alarms and tally.seconds > 0


def test_a_run_has_as_many_steps_as_it_says() -> None:
    labels: list[str] = []
    run([NO_SLOPE, DOUBLED], {"it": silent}, labels.append)
    assert len(labels) == steps([NO_SLOPE, DOUBLED]) == 3


@pytest.mark.parametrize("op", ["softmax", "gelu", "conv2d"])
def test_right_implementations_differ_from_each_other(op: str) -> None:
    """Or they would be one control, counted many times."""
    case = max(refnn.cases(op, "float32", families=["normal"]), key=lambda c: c.cotangent.size)
    with np.errstate(all="ignore"):
        results = {np.asarray(f(*case.inputs, **case.params)).tobytes() for _, (f, _) in controls(op, "float32")}
    assert len(results) >= 2


# --- what reveals a mutant -------------------------------------------------------------------------------------------


def test_the_families_and_cotangents_that_reveal_a_mutant_are_named() -> None:
    clipped = named("relu: gradients clipped at 10")
    score = run([clipped], {"it": silent}, dtypes=())
    assert revealing(score.reports[clipped])
    assert {kind for _, kind in revealing(score.reports[clipped])} == {"wide"}
    assert "(wide)" in revealed(score, clipped)


def test_what_no_default_case_reveals_is_searched_for() -> None:
    """Wrong on the inputs of one default case, with any cotangent but its own."""
    case = next(c for c in refnn.cases("flatten", "float32", families=["normal"]) if c.cotangent.size > 3)
    (own,) = case.inputs
    assert own is not None

    def vjp(g: Any, x: Any, *, start: int) -> Any:
        odd = np.array_equal(x, own) and not np.array_equal(g, case.cotangent)
        return (g.reshape(x.shape) * (2 if odd else 1),)

    m = Mutant("flatten", "", "rare", vjp=vjp)
    assert not revealing(run([m], {"it": silent}, dtypes=()).reports[m])
    assert {family for family, _ in search(m)} == {"normal"}


def test_what_no_variant_reveals_is_said_to_need_another() -> None:
    long = Mutant("relu", "", "wrong beyond 50000", forward=lambda x: refnn.relu(x) * (2 if x.size > 50_000 else 1))
    score = run([long], {"refnn": default_check}, dtypes=())
    assert score.tallies["refnn"].missed == {long}
    assert revealed(score, long) == "no variant of the op: shapes or parameters are missing"


# --- false alarms ----------------------------------------------------------------------------------------------------


SILU = Right("silu", "definition", "float32", (refnn.silu, refnn.silu.vjp))


def test_a_right_implementation_raises_no_alarm_and_a_wrong_one_does() -> None:
    """The wrong one in more than half of its cases: in some everything is zero, or out of scope when doubled."""
    quiet = on_cases("silu", [SILU], seeds=[3])
    loud = on_cases("silu", [replace(SILU, what="doubled", pair=mutated(DOUBLED))], seeds=[3])
    assert not quiet.alarms and quiet.checks.total() > 30 and quiet.elements > 10_000
    assert len(loud.alarms) > 0.5 * loud.checks["float32"] and "doubled: violation of " in loud.alarms[0]
    page = alarm_page([quiet, loud])
    assert f"**{len(loud.alarms)} false alarms in {2 * quiet.checks.total():,} checks** of 2 right" in page
    assert "confidence" not in page and f"- silu: {loud.alarms[0]}" in page
    assert "With 95% confidence" in alarm_page([quiet])


def test_a_check_of_nothing_is_no_check() -> None:
    """Every default case is counted but the empty ones, those of NaN among them, which some elements are left of."""
    found = on_cases("relu", [Right("relu", "definition", "float32", (refnn.relu, refnn.relu.vjp))], seeds=[3])
    drawn = list(refnn.cases("relu", "float32", seed=3))
    empty = [c for c in drawn if not c.cotangent.size]
    assert empty and found.checks.total() == len(drawn) - len(empty)


def raised(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError


def test_what_raises_is_an_alarm_though_nothing_was_judged() -> None:
    found = on_cases("silu", [replace(SILU, pair=(raised, raised))], seeds=[3])
    assert found.alarms and "error of output" in found.alarms[0]


def test_what_the_catalogue_has_of_right_ones_is_among_them() -> None:
    labels = {right.what for right in of_numpy("relu", "float32")}
    assert {"sums from first to last", "relu'(0)=1", "-0 below 0"} <= labels
    assert not labels & {m.what for m in MUTANTS if m.op == "relu" and m.kind == "wrong"}


def test_a_declared_class_may_be_explained_and_nothing_else_may() -> None:
    """sigmoid's class `textbook` loses digits of the gradient on the positive side."""
    (textbook,) = [r for r in classes("sigmoid", "float32") if r.what == "class textbook"]
    case = {"inputs": (np.linspace(5, 10, 50, dtype=np.float32),)}
    for right, objects, names in (
        (textbook, False, set()),
        (replace(textbook, algorithms=None), False, set()),
        (replace(textbook, algorithms=frozenset(["another"])), False, {"class textbook as textbook"}),
        (replace(textbook, algorithms=frozenset()), True, set()),
    ):
        found = Alarms("sigmoid")
        found.check(right, case, "here")
        assert bool(found.alarms) == objects and found.misnamed == names
        assert not objects or found.alarms == ["class textbook: explained [textbook] of grad[x] in here"]
    page = alarm_page([replace(Alarms("sigmoid"), misnamed={"class textbook as textbook"})])
    assert "another class that covers the result, too:\n\n- sigmoid: class textbook as textbook" in page


def test_a_class_is_judged_as_itself_on_the_default_cases() -> None:
    case = {"inputs": (np.linspace(5, 10, 50, dtype=np.float32),)}
    (textbook,) = [r for r in of_numpy("sigmoid", "float32") if r.what == "class textbook"]
    own, accurate = Alarms("sigmoid"), Alarms("sigmoid")
    own.check(textbook, case)
    accurate.check(replace(textbook, algorithm="accurate"), case)
    assert not own.alarms and len(accurate.alarms) == 1


def test_a_class_that_doubles_is_an_alarm() -> None:
    (textbook,) = [r for r in classes("sigmoid", "float32") if r.what == "class textbook"]
    forward, vjp = textbook.pair
    doubled = replace(textbook, pair=(lambda x: 2 * forward(x), vjp))
    found = Alarms("sigmoid")
    found.check(doubled, {"inputs": (np.linspace(-1, 1, 5, dtype=np.float32),)}, "here")
    assert found.alarms == ["class textbook: violation of output in here"]


def test_what_pytorch_is_known_for_is_no_alarm_and_what_is_new_is_one() -> None:
    """tanh's gradient by 1 - y^2 is committed as expected of PyTorch; without the list it is an alarm."""
    case = {"inputs": (np.linspace(3, 8, 50, dtype=np.float32),)}
    known, bare = Alarms("tanh"), Alarms("tanh")
    known.check(of_torch("tanh", "float32"), case)
    bare.check(replace(of_torch("tanh", "float32"), known={}), case)
    assert known.checks == {"float32": 1} and not known.alarms
    assert len(bare.alarms) == 1 and "explained [textbook] of grad[x]" in bare.alarms[0]


# --- layers of everyday size -----------------------------------------------------------------------------------------


def test_the_layers_are_of_everyday_size_and_have_all_dtypes() -> None:
    sizes = {op: max(math.prod(x.shape) for x in everyday.LAYERS if x.op == op) for op in EVERYDAY}
    assert min(sizes.values()) >= 2_048 and sizes["softmax"] >= 64_000
    assert set(everyday.KINDS) == {"float32", "float64", "bfloat16", "float16"}
    assert set(everyday.KINDS["float32"]) == set(everyday.DATA)


EVERYDAY = sorted({layer.op for layer in everyday.LAYERS})


@pytest.mark.parametrize("data", everyday.DATA)
def test_data_are_what_they_are_called(data: str) -> None:
    (x,) = everyday.Layer("relu", (40, 25)).case("float32", data, 0)["inputs"]
    flat = x.ravel()
    assert x.dtype == np.float32 and x.shape == (40, 25)
    distinct = {"normal": 1000, "tenths": 11, "bytes / 255": 256, "sorted": 1000}[data]
    assert 0.5 * distinct < len(np.unique(flat)) <= distinct
    assert (np.diff(flat) >= 0).all() == (data == "sorted")


def test_a_layer_draws_another_case_for_each_seed_and_the_same_for_one() -> None:
    layer = everyday.LAYERS[0]
    a, b, c = (layer.case("float32", "normal", seed)["inputs"][0] for seed in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def smaller_layer(layer: everyday.Layer) -> everyday.Layer:
    """The layer with less data: weights and classes as they are."""
    if layer.op in everyday.SMOOTH + everyday.PIECES or layer.op == "glu":
        return replace(layer, shape=(2, 6))
    return layer


@pytest.mark.parametrize("layer", [x for x in everyday.LAYERS if math.prod(x.shape) <= 2_560 or not x.others], ids=str)
def test_the_formulas_of_a_layer_are_right(layer: everyday.Layer) -> None:
    """Against the definition in float64, in every dtype: an accident would be counted as a false alarm of refnn's. No
    claim of accuracy: a formula may lose half of the digits of the largest element."""
    layer = smaller_layer(layer)
    for dtype in everyday.KINDS:
        for right in formulas(layer.op, dtype):
            case = layer.case(dtype, "normal", 0)
            wide = tuple(
                np.float64(x) if x is not None and x.dtype == FORMATS[dtype].dtype else x for x in case["inputs"]
            )
            params = {**OPS[layer.op].defaults, **case["params"]}
            want = OPS[layer.op](*wide, **params)
            drawn = np.random.default_rng(0).normal(size=want.shape).astype(FORMATS[dtype].dtype)
            g = case.get("cotangent", drawn)
            wanted = (want, *OPS[layer.op].vjp(np.float64(g), *wide, **params))
            got = (right.pair[0](*case["inputs"], **params), *right.pair[1](g, *case["inputs"], **params))
            for a, b in zip(got, wanted, strict=True):
                if b is not None:
                    assert a.dtype == FORMATS[dtype].dtype
                    half = math.sqrt(FORMATS[dtype].unit_roundoff) * np.abs(b).max()
                    assert (np.abs(a.astype(np.float64) - b) <= half).all(), right.what


def test_the_implementations_of_a_layer_raise_no_alarm_and_a_wrong_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = everyday.Layer("relu", (32, 8))
    found = on_layer(layer, seeds=[0])
    assert not found.alarms and {"definition", "PyTorch"} <= found.implementations
    assert set(found.checks) == set(everyday.KINDS) and found.checks["float32"] >= 4 * 4
    monkeypatch.setattr(alarms, "of_torch", lambda op, dtype: Right(op, "doubled", dtype, (lambda x: 2 * x, None)))
    wrong = on_layer(layer, seeds=[0])
    assert len(wrong.alarms) == 10 and wrong.alarms[0].startswith("doubled: violation of output in relu 32x8, float32")


def test_parts_of_a_run_are_put_together(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command, on one op and one layer, in processes of its own."""
    monkeypatch.setattr(alarms, "MUTANTS", [replace(NO_SLOPE, op="threshold")])
    monkeypatch.setattr(everyday, "LAYERS", (everyday.Layer("relu", (32, 8)),))
    monkeypatch.setattr(alarms, "SEEDS", (1,))
    alarms.main()
    page = capsys.readouterr().out
    assert re.search(r"\n\| threshold \| \d \| [1-9]\d+ \| [1-9]\d+ \| [\d,]+ \| 0 \|\n", page)
    assert re.search(r"\n\| relu 32x8 \| \d \| \d\d \| \d\d \| \d\d \| \d\d \| [\d,]+ \| 0 \|\n", page)
    assert "**0 false alarms in " in page and "of 1 ops and 1 layers" in page


def test_the_committed_page_has_no_alarm() -> None:
    assert "**0 false alarms in " in (PAGES / "alarms.md").read_text()


def test_the_committed_page_counts_a_hundred_thousand_checks() -> None:
    text = (PAGES / "alarms.md").read_text()
    alarmed, total = re.search(r"\*\*(\d+) false alarms in ([\d,]+) checks\*\*", text).groups()
    assert int(alarmed) == len(re.findall(r"(?m)^- .*: (?:violation|suspect|special|error|explained).* of ", text))
    assert int(total.replace(",", "")) >= 100_000
    assert {op for op in {m.op for m in MUTANTS} if f"\n| {op} | " not in text} == set()
    assert {str(layer) for layer in everyday.LAYERS if f"\n| {layer} | " not in text} == set()
    assert all(re.search(rf"[1-9][\d,]* in {dtype}", text) for dtype in everyday.KINDS)


# --- the baselines ---------------------------------------------------------------------------------------------------


CALIBRATED = ("torchtitan", "SOL-ExecBench")  # by how far PyTorch is off, which other sums may exceed


@pytest.mark.parametrize("name", [n for n in BASELINES if n not in CALIBRATED])
@pytest.mark.parametrize("op", ["relu", "softmax", "linear", "mse_loss"])
def test_a_baseline_is_silent_on_what_is_right(name: str, op: str) -> None:
    """All but `assert_close`, whose tolerance does not grow with a sum: 1025 terms are too many for it."""
    silent = BASELINES[name](op, refnn.ops[op], refnn.ops[op].vjp, "float32")
    assert silent == ((name, op) != ("assert_close", "linear"))


@pytest.mark.parametrize("name", CALIBRATED)
@pytest.mark.parametrize("op", slow(["relu", "softmax", "linear", "mse_loss"], "softmax", "linear", "mse_loss"))
def test_a_calibrated_baseline_is_silent_on_its_reference_and_not_on_twice_of_it(name: str, op: str) -> None:
    forward, vjp = torch_functions(refnn.ops[op], FUNCTIONS[op])
    assert BASELINES[name](op, forward, vjp, "float32")
    assert not BASELINES[name](op, lambda *a, **p: 2 * forward(*a, **p), vjp, "float32")
    assert not BASELINES[name](op, forward, lambda g, *a, **p: vjp(2 * g, *a, **p), "float32")


@pytest.mark.slow
@pytest.mark.parametrize("name", CALIBRATED)
def test_a_calibrated_baseline_does_not_cover_float64(name: str) -> None:
    tally = run([NO_SLOPE, replace(NO_SLOPE, dtype="float64")], {name: BASELINES[name]}, dtypes=["float64"])
    tally = tally.tallies[name]
    assert {m.dtype for m in tally.uncovered} == {"float64"} and {m.dtype for m in tally.killed} == {"float32"}
    assert not tally.controls


BLIND = {
    "gradcheck slow": DOUBLED,  # consistent with itself
    "gradcheck fast": DOUBLED,
    "assert_close": named("softmax: no shift"),
    "tinygrad": named("softmax: no gradient at all"),  # a cotangent of ones
    "KernelBench": NO_SLOPE,  # the forward alone
    "Liger": named("tanh: 2 sigmoid(2x) - 1"),  # an absolute tolerance
    "torchtitan": named("softmax: a maximum that starts at 0"),  # normal inputs
    "SOL-ExecBench": named("softmax: a maximum that starts at 0"),
}
SEES = {
    "gradcheck slow": NO_SLOPE,
    "gradcheck fast": NO_SLOPE,
    "assert_close": NO_SLOPE,
    "tinygrad": NO_SLOPE,
    "KernelBench": DOUBLED,
    "Liger": named("softmax: no gradient at all"),
    "torchtitan": named("softmax: no gradient at all"),
    "SOL-ExecBench": named("softmax: no gradient at all"),
}


@pytest.mark.parametrize("name", slow([*BASELINES], *({*BASELINES} - {"assert_close", "tinygrad"})))
def test_a_baseline_sees_what_it_looks_at_and_nothing_else(name: str) -> None:
    tally = run([BLIND[name], SEES[name]], {name: BASELINES[name]}, dtypes=()).tallies[name]
    assert tally.killed == {SEES[name]}


def test_a_baseline_gets_neither_empty_arrays_nor_ignored_targets() -> None:
    chosen = list(baselines.given(refnn.ops["cross_entropy"], "float32", baselines.normal, baselines.ones))
    assert len(chosen) > 8
    for case in chosen:
        assert case.cotangent.size and (case.cotangent == 1).all()
        assert np.isfinite(refnn.cross_entropy(*case.inputs, **case.params)).all()


@pytest.mark.parametrize(
    ("got", "nan_equal", "expected"),
    [
        ([1.0, 1.0001, np.nan], True, True),
        ([1.0, 1.0001, np.nan], False, False),
        ([1.0, 1.1, np.nan], True, False),
        ([1.0, np.nan, np.nan], True, False),
        ([1.0, np.inf, np.nan], True, False),
    ],
)
def test_a_typed_tolerance_is_taken_as_its_users_do(got: list[float], nan_equal: bool, expected: bool) -> None:
    want = np.array([1.0, 1.0, np.nan])
    assert baselines.inside(np.array(got), want, 0.0, 1e-3, nan_equal=nan_equal) is expected


def test_infinity_is_not_near_to_a_number() -> None:
    assert not baselines.inside(np.array([1.0]), np.array([np.inf]), 1e-4, 1e-4, nan_equal=True)
    assert baselines.inside(np.array([np.inf]), np.array([np.inf]), 1e-4, 1e-4, nan_equal=True)
    assert not baselines.inside(np.ones(2, np.float32), np.ones(2), 1e-4, 1e-4, nan_equal=True)


ONES = np.array([1.0, -1.0, 0.5])


@pytest.mark.parametrize(
    ("target", "reference", "expected"),
    [
        ([0, 0, 0], [0, 0, 0], True),
        ([0, 2, 0], [1, 0, 0], True),  # twice as far off as the reference, in another element
        ([0, 3, 0], [1, 0, 0], False),
        ([0, 1, 0], [0, 0, 0], False),  # the numbers are floats, so rounding them costs nothing
        ([0, 0, 0], [0, 2**21, 0], None),  # 2^21 ulps are a quarter
        ([0, 2**23, 0], [0, 2**21, 0], None),
        ([np.nan, 0, 0], [1, 0, 0], False),
        ([np.inf, 0, 0], [1, 0, 0], False),
        ([np.nan, 0, 0], [np.nan, 1, 0], True),
        ([1, 0, 0], [np.nan, 1, 0], False),
    ],
)
def test_the_gate_of_torchtitan(target: list[float], reference: list[float], expected: bool | None) -> None:
    """Errors in units of 2^-23, which is one ulp of 1."""
    off = [(ONES + np.array(e) * 2.0**-23).astype(np.float32) for e in (target, reference)]
    assert baselines.verified(*off, ONES) is expected


def test_torchtitan_allows_one_rounding_where_its_reference_has_none() -> None:
    golden = np.array([1.0 + 2.0**-25, 1.0])
    near, one, next_one = np.ones(2, np.float32), np.float32(1), np.float32(1 + 2.0**-23)
    assert baselines.verified(near, near, golden) is True
    assert (
        baselines.verified(np.array([next_one, one]), near, golden) is True
    )  # 0.75 ulp, where 2 x 0.25 + 0.25 is fine
    assert baselines.verified(np.array([next_one, next_one]), near, golden) is False
    assert baselines.verified(near, near.astype(np.float64), golden) is False
    assert baselines.verified(near[:1], near, golden) is False


def test_a_verdict_that_torchtitan_refuses_is_no_objection(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = (lambda x, **p: 2 * refnn.softmax(x, **p), refnn.softmax.vjp)
    assert not BASELINES["torchtitan"]("softmax", *pair, "float32")
    monkeypatch.setattr(baselines, "REFUSED", -1.0)  # of every reference
    assert BASELINES["torchtitan"]("softmax", *pair, "float32")


def test_sol_execbench_counts_the_elements_that_match() -> None:
    want = np.array([1.0, 100.0, -1.0, 0.0], np.float32)
    assert baselines.matched(want, want, 0.0, 0.0) == 1.0
    assert baselines.matched(want + np.float32(1e-3), want, 0.0, 1e-4) == 0.25
    assert baselines.matched(want + np.float32(1e-3), want, 2e-3, 0.0) == 1.0
    for spoiled in (np.nan, np.inf):
        assert baselines.matched(np.array([spoiled, 100, -1, 0], np.float32), want, 1.0, 1.0) == 0.0
    assert baselines.matched(want.astype(np.float64), want, 1.0, 1.0) == 0.0
    assert baselines.matched(want[:3], want, 1.0, 1.0) == 0.0
    assert baselines.matched(want.astype(np.float64) + 1e-9, want.astype(np.float64), 0.0, 0.0) > 0  # in float32


def test_what_a_probe_needs_is_what_makes_it_pass() -> None:
    want, got = np.array([1.0, -2.0, 0.0], np.float32), np.array([1.5, -2.25, 0.125], np.float32)
    assert baselines.needed(got, want, 0.0) == 0.5
    assert baselines.needed(got, want, 0.25) == 0.25
    assert baselines.needed(want, want, 0.25) == 0.0
    assert baselines.needed(np.array([np.inf, 1.0]), np.array([np.inf, 1.5]), 0.0) == 0.5


def test_sol_execbench_calibrates_by_its_reference_alone() -> None:
    """A function that PyTorch rounds nowhere needs nothing beside rtol, a sum needs something."""
    normal = {
        op: [c.id for c in baselines.given(refnn.ops[op], "float32", baselines.normal, baselines.normal)]
        for op in ("relu", "linear")
    }
    for op, ids in normal.items():
        needed = [max(baselines.calibrated(op, "float32", i.rsplit("/", 1)[0])) for i in ids[:3]]
        assert (max(needed) > 0) == (op == "linear")
        assert max(needed) < 1e-4


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_a_page_and_ends_in_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["power", "--ops", "tanhshrink", "--checker", "refnn"]) == 0
    page = capsys.readouterr().out
    assert "| **all** | **1/1** |" in page and "| objections to right implementations | 0/" in page


def test_the_command_runs_the_checker_of_a_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine_to_score.py").write_text(
        "import numpy as np\n"
        "def checker(op, forward, vjp, dtype):\n"
        "    x = np.linspace(-2, 2, 7).astype(dtype)\n"
        "    h = 1e-3\n"
        "    slope = (forward(x + h) - forward(x - h)) / (2 * h)\n"
        "    assert abs(vjp(np.ones_like(x), x)[0] - slope).max() < 0.01\n"
    )
    monkeypatch.chdir(tmp_path)
    assert cli.main(["power", "--ops", "tanh", "--checker", "mine_to_score:checker"]) == 2
    page = capsys.readouterr().out
    assert "| killed / wrong | mine_to_score:checker |" in page
    assert "| tanh | 2 sigmoid(2x) - 1 | tenstorrent/tt-metal PR48328 | **missed** |" in page
    assert "| tanh | 1 - y for 1 - y^2 |  | killed |" in page


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["--ops", "sotfmax"], 3, "--ops 'sotfmax' matches no mutant"),
        (["--checker", "pytest"], 1, "--checker is 'pytest', expected module:function or one of refnn"),
        (["--checker", "json:nothing"], 1, "'json' has no 'nothing'"),
    ],
)
def test_what_is_wrong_with_a_call_is_one_sentence(
    args: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["power", *args]) == code
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1


def test_all_of_a_checkers_objections_are_told_apart() -> None:
    pair = (refnn.relu, lambda g, x: (g,))
    assert len(list(objections(BASELINES["assert_close"], "relu", pair, "float32"))) > 1
    assert list(objections(refusing, "relu", pair, "float32")) == ["all"]
    assert not list(objections(silent, "relu", pair, "float32"))
