"""The fixture files: generated again to the byte, complete, not vacuous; the rule they are judged by, in Python and in
C; and what a reader must refuse."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import shutil
import subprocess
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiler import CC, SANITIZE, without_sanitizers
from marks import FEW, slow

import refnn
from refnn.conformance import data
from refnn.judging.judge import Judge
from refnn.judging.verdict import NAMES as VERDICT_NAMES
from refnn.models import model
from refnn.networks.network import Network, fixtures, subject
from refnn.op import Variant
from refnn.ops import OPS
from refnn.suite.fixture import Claim, Expected, Fixture
from refnn.suite.make import document, manifest, network_document, write
from refnn.suite.plan import NAMES, cases
from refnn.suite.read import Suite, load
from refnn.suite.rule import accepts, judge
from refnn.wire.encoding import decode, decode_bounds, encode, encode_bounds
from refnn.wire.schema import check, schema

FOLDER = data("MANIFEST.json").parent
SUITE = Suite()

NAMED = np.array(VERDICT_NAMES)  # verdicts by their codes


def every() -> list[Fixture]:
    return [f for op, family in SUITE.entries for f in SUITE.cases(op, family)]


# --- what there is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", slow([*OPS], *({*OPS} - {*FEW})))  # CI writes all of them in one command, too
def test_the_files_are_written_again_to_the_byte(op: str) -> None:
    for family in NAMES:
        assert document(op, family) == (FOLDER / "ops" / op / f"{family}.json").read_text(encoding="utf-8"), (
            f"refnn gen {op}: the files are not what it writes"
        )


def test_the_manifest_is_of_these_files() -> None:
    assert manifest(FOLDER) == (FOLDER / "MANIFEST.json").read_text(encoding="utf-8")
    SUITE.verify()


def test_every_op_has_every_family_forward_and_gradients() -> None:
    assert set(SUITE.entries) == {(op, family) for op in OPS for family in NAMES} | {(n, "network") for n in fixtures()}
    for fixture in every():
        op = subject(fixture.op)
        wanted = {
            f"d/{n}"
            for n, x in fixture.inputs.items()
            if x is not None and x.dtype.kind == "f" and op.inputs[n].differentiable
        }
        assert set(fixture.wants) == {"y"} | wanted, fixture.id


def test_ids_are_unique_and_hold_no_blank() -> None:
    ids = Counter(f.id for f in every())
    assert max(ids.values()) == 1 and len(ids) > 2000
    assert all(re.fullmatch("[!-~]+", i) for i in ids)


def test_an_id_does_not_depend_on_what_stands_beside_it() -> None:
    """Neither the numbers nor the id of a case change when an op gets another variant."""
    op = OPS["softmax"]
    more = replace(op, variants=(Variant({"x": (2, 2)}, {"axis": 0}), *op.variants))
    before = {c.id: c for c in cases(op, "normal")}
    after = {c.id: c for c in cases(more, "normal")}
    kept = before.keys() & after.keys()
    assert len(kept) >= 7
    for i in kept:
        assert all(np.array_equal(a, b) for a, b in zip(before[i].inputs, after[i].inputs, strict=True)), i


def test_no_case_is_vacuous() -> None:
    """Something is claimed in each case, in all but the special ones of at least half of the elements."""
    for fixture in every():
        letters = "".join(e.main.letters for e in fixture.expect.values())
        claimed = len(letters) - letters.count("*")
        assert 2 * claimed >= len(letters) if fixture.family != "special" else claimed, fixture.id
        if fixture.family == "network":
            assert claimed >= 0.99 * len(letters), fixture.id


def test_bounds_mean_something() -> None:
    """On normal numbers the median bound of an op is below 16 unit roundoffs of the largest number of its results."""
    for dtype, unit in (("float32", 2.0**-24), ("float64", 2.0**-53)):
        shares: dict[str, list[float]] = {}
        for fixture, _ in SUITE.select(dtype=dtype, families=["normal"]):
            for e in fixture.expect.values():
                if e.main.hi.size and np.abs(e.main.hi).max():
                    share = np.median(e.main.bounds[dtype]) / np.abs(e.main.hi).max()
                    shares.setdefault(fixture.op, []).append(float(share) / unit)
        assert len(shares) == len(OPS)
        assert {op: m for op, found in shares.items() if not (m := float(np.median(found))) <= 16} == {}


def test_a_wheel_stays_under_four_megabytes() -> None:
    """The package, and of the conformance folder what pyproject.toml puts into the wheel."""
    root = Path(refnn.__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for place in (root / name for name in (*project["packages"], *project["force-include"])):
            files = place.rglob("*") if place.is_dir() else [place]
            for path in sorted(p for p in files if p.is_file() and "__pycache__" not in p.parts):
                archive.write(path, path.relative_to(root))
    assert 1_000_000 < len(packed.getvalue()) <= 4_000_000


def test_a_fixture_is_found_by_its_id() -> None:
    some = [f for f in every() if f.op in ("cross_entropy", "hardshrink")][::7]
    for fixture in (*some, *SUITE.cases("women", "network")):
        case = refnn.case(fixture.id)
        mine = [*case.inputs, case.cotangent]
        for a, b in zip(mine, [*fixture.inputs.values(), fixture.cotangent], strict=True):
            assert (a is None) == (b is None)
            assert a is None or (a.dtype == b.dtype and encode(a) == encode(b)), fixture.id
        assert {k: str(v) for k, v in case.params.items()} == {k: str(v) for k, v in fixture.attrs.items()}


# --- networks --------------------------------------------------------------------------------------------------------


LARGE = ("digits_allconv", "digits_cnn", "digits_segments", "lenet", "super_resolution")


@pytest.mark.parametrize("name", slow(fixtures(), *LARGE))
def test_the_file_of_a_network_is_written_again_to_the_byte(name: str) -> None:
    text = network_document(Network.load(name))
    assert text == (FOLDER / "networks" / name / "cases.json").read_text(encoding="utf-8"), f"refnn gen {name}"


def whole(name: str) -> bool:
    """Whether all intermediates and gradients of a network stand in its file, and not some of their entries."""
    return all(e.main.at is None for e in SUITE.cases(name, "network")[0].expect.values())


def test_small_networks_are_whole() -> None:
    for name in fixtures():
        net, case = Network.load(name), SUITE.cases(name, "network")[0]
        assert list(case.expect) == [*(f"v/{n.name}" for n in net.nodes[:-1]), "y", *(f"d/{p}" for p in net.parameters)]
    assert [name for name in fixtures() if not whole(name)] == [*LARGE]


@pytest.mark.parametrize("name", slow(LARGE, *LARGE[1:]))
def test_large_networks_are_rebuilt(name: str, tmp_path: Path) -> None:
    """Where some entries only stand in the file of a network, the hash of the file that holds all stands there too."""
    assert write(tmp_path, [name])[1].name == "full.json"
    content = (tmp_path / "networks" / name / "full.json").read_bytes()
    listed = json.loads((FOLDER / "networks" / name / "cases.json").read_text())["cases"][0]["full"]
    assert listed == {"path": f"networks/{name}/full.json", "sha256": hashlib.sha256(content).hexdigest()}
    (every_,) = load(content, "full.json", SUITE._parameters)
    for want, e in SUITE.cases(name, "network")[0].expect.items():
        assert e.main.at is not None or len(e.main.letters) <= 24
        everything = every_.expect[want].main
        assert everything.at is None
        at = slice(None) if e.main.at is None else e.main.at
        assert np.array_equal(everything.hi[at], e.main.hi), want


@pytest.mark.parametrize("name", ["digits_mlp", "co2_forecast", "lenet"])
def test_the_values_between_the_layers_are_those_of_the_network(name: str) -> None:
    net = Network.load(name)
    for dtype in ("float32", "float64"):
        fixture = SUITE.cases(name, "network")[0]
        case = fixture.case(dtype)
        arrays = dict(zip(case.op.inputs, case.inputs, strict=True))
        values = net.forward(arrays, *(arrays[n] for n in net.inputs)).values
        for node in net.nodes[:-1]:
            found = judge(fixture.expect[f"v/{node.name}"], values[node.name], dtype)
            assert set(NAMED[found.code]) <= {"exact", "ok", ""}, node.name
            wrong = judge(fixture.expect[f"v/{node.name}"], values[node.name] + np.abs(values[node.name]).max(), dtype)
            assert "violation" in set(NAMED[wrong.code])


def test_parameters_that_were_changed_are_refused(copied: Path) -> None:
    shutil.copytree(FOLDER / "networks" / "women", copied / "networks" / "women")
    (copied / "MANIFEST.json").write_text(manifest(copied))
    assert Suite(copied).cases("women", "network")[0].inputs.keys() >= {"x"}
    path = copied / "networks" / "women" / "trained.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="it was changed"):
        Suite(copied).cases("women", "network")
    path.write_bytes((10 * 10**9).to_bytes(8, "little") + bytes(content[8:]))  # a header of ten gigabytes
    (copied / "MANIFEST.json").write_text(manifest(copied))
    with pytest.raises(ValueError, match=r"trained.safetensors cannot be read: .*[Hh]eader"):
        Suite(copied).cases("women", "network")
    path.unlink()
    with pytest.raises(ValueError, match=r"there is no file 'networks/women/trained.safetensors'"):
        Suite(copied).cases("women", "network")


# --- numbers as text -------------------------------------------------------------------------------------------------


def test_bits_are_most_significant_first() -> None:
    assert encode(np.array([1.0, -1.0, -0.0, np.inf, np.nan, -np.nan], np.float32)) == (
        "3f800000bf800000800000007f8000007fc000007fc00000"
    )
    assert encode(np.array([[2, -100]])) == "0000000000000002ffffffffffffff9c"
    assert encode(np.asfortranarray([[1.0, 2.0], [3.0, 4.0]])) == encode(np.array([1.0, 2.0, 3.0, 4.0]))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int64"])
def test_bits_survive_the_round_trip(dtype: str) -> None:
    rng = np.random.default_rng(0)
    size = 2 if dtype.endswith("16") else 4 if dtype.endswith("32") else 8
    raw = rng.integers(0, 256, size=(3, 5, size), dtype=np.uint8).tobytes().hex()
    x = decode(raw, dtype, (3, 5))
    back = decode(encode(x), dtype, (3, 5))
    assert x.shape == (3, 5)
    assert all(a == b or (a != a and b != b) for a, b in zip(x.ravel(), back.ravel(), strict=True))


def test_bounds_are_rounded_up_and_never_lost() -> None:
    rng = np.random.default_rng(1)
    exact = np.abs(rng.normal(size=200)) * 2.0 ** rng.integers(-100, 100, 200)
    short = decode_bounds(encode_bounds(exact), 200)
    assert (short >= exact).all() and (short <= exact * (1 + 2.0**-22)).all() and (short > exact).any()
    for beyond in (5e-324, 2.0**-127, 1e39):
        assert decode_bounds(encode_bounds(np.array([1.0, beyond])), 2).tolist() == [1.0, beyond]
    assert encode_bounds(np.zeros(2)) == "0" * 16


def test_the_page_says_what_torch_does_not() -> None:
    """Each function that torch.nn.functional does not have, with its arguments."""
    functional = pytest.importorskip("torch").nn.functional
    page = (FOLDER / "FORMAT.md").read_text(encoding="utf-8")
    own = [op for op in OPS.values() if not hasattr(functional, op.name)]
    assert own
    for op in own:
        assert f"| `{op.name}({', '.join((*op.inputs, *op.defaults))})` |" in page


# --- the rule --------------------------------------------------------------------------------------------------------


def claim(letter: str, hi: float = 0.0, lo: float = 0.0, bound: float = 0.0) -> Claim:
    return Claim(letter, np.array([hi]), np.array([lo]), {"float32": np.array([bound])})


NUMBERS = (0.0, -0.0, 1.0, 1.5, -2.0, 5e-324, 1e308, math.inf, -math.inf, math.nan)
ACCEPTED = {
    ("f", 1.0, 0.0, 0.0): {1.0},
    ("f", 1.25, 0.0, 0.25): {1.0, 1.5},
    ("f", 1.25, 1e-20, 0.25): {1.0, 1.5},
    ("f", 0.0, 0.0, 0.0): {0.0},
    ("r", 1.0, -2.0, 0.0): {0.0, 5e-324, 1.0, -2.0},
    ("r", 0.0, 1.25, 0.25): {0.0, 5e-324, 1.0, 1.5},
    ("n", 0.0, 0.0, 0.0): {"nan"},
    ("p", 0.0, 0.0, 0.0): {math.inf},
    ("m", 0.0, 0.0, 0.0): {-math.inf},
    ("z", 0.0, 0.0, 0.0): {"+0"},
    ("Z", 0.0, 0.0, 0.0): {"-0"},
    ("*", 0.0, 0.0, 0.0): set(NUMBERS[2:-1]) | {"nan", "+0", "-0"},
    ("q", 0.0, 0.0, 0.0): set(),
}


def named(x: float, allowed: set[Any]) -> bool:
    words = {"nan"} if math.isnan(x) else ({"+0"} if math.copysign(1, x) > 0 else {"-0"}) if x == 0 else set()
    return bool(words & allowed) or (x == x and x in allowed)


@pytest.mark.parametrize("given", ACCEPTED, ids=str)
def test_what_each_letter_accepts(given: tuple[str, float, float, float]) -> None:
    for x in NUMBERS:
        assert bool(accepts(claim(*given), np.array([x]), "float32")[0]) == named(x, ACCEPTED[given]), x


@pytest.fixture(scope="module")
def page() -> list[str]:
    """The C programs of FORMAT.md."""
    return re.findall(r"```c\n(.*?)```", (FOLDER / "FORMAT.md").read_text(encoding="utf-8"), re.DOTALL)


def compiled(source: str, folder: Path, *options: str) -> Path:
    if CC is None:
        pytest.skip("there is no C compiler")
    (folder / "program.c").write_text(source)
    command = [CC, "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", *options, "program.c", "-o", "program", "-lm"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "program"


def test_the_rule_is_twenty_lines_of_c(page: list[str]) -> None:
    rule = page[0]
    assert len([line for line in rule.splitlines() if line.strip()]) <= 20


def test_the_rule_in_c_and_in_python_are_one(page: list[str], tmp_path: Path) -> None:
    """On every letter and on numbers at, beside and far from the ends of what is allowed."""
    program = compiled(
        page[0]
        + """
        #include <stdio.h>
        int main(void) {
            char c; double hi, lo, bound, got;
            while (scanf(" %c %lf %lf %lf %lf", &c, &hi, &lo, &bound, &got) == 5)
                printf("%d", accepts(c, hi, lo, bound, got));
            return 0;
        }""",
        tmp_path,
    )
    rng = np.random.default_rng(2)
    rows = [(*given, x) for given in ACCEPTED for x in NUMBERS]
    for letter in "frfr":
        for _ in range(200):
            hi, scale = rng.normal(), 2.0 ** rng.integers(-60, 3)
            lo = hi * 2.0**-54 * rng.uniform(-1, 1) if letter == "f" else rng.normal()
            for got in (hi + scale, hi - scale, np.nextafter(hi + scale, 9), np.nextafter(hi - scale, -9), hi, lo):
                rows.append((letter, hi, lo, scale, got))
    text = "\n".join(f"{c} {hi!r} {lo!r} {b!r} {got!r}" for c, hi, lo, b, got in rows).replace("np.float64(", "")
    out = subprocess.run([program], input=text.replace(")", ""), capture_output=True, text=True, check=True).stdout
    mine = [int(accepts(claim(c, hi, lo, b), np.array([got]), "float32")[0]) for c, hi, lo, b, got in rows]
    assert [*map(int, out)] == mine
    assert 0.2 < np.mean(mine) < 0.8


WRONG = {
    "the mean is not subtracted": ("(g[at + k * inner] - dot)", "g[at + k * inner]"),
    "no shift": ("expf(x[at + k * inner] - max)", "expf(x[at + k * inner])"),
    "zeros": ("dx[at + k * inner] = ", "dx[at + k * inner] = 0 * "),
    "NaN": ("dx[at + k * inner] = ", "dx[at + k * inner] = NAN * "),
    "the other axis": ("axis += axis < 0 ? rank : 0;", "axis = 0;"),
    "one ulp of a float16": ("dot += ", "dot += 0.001f * "),
}


def test_a_newcomer_verifies_a_softmax_from_the_page_and_the_files_alone(page: list[str], tmp_path: Path) -> None:
    files = sorted((FOLDER / "ops" / "softmax").glob("*.json"))
    program = compiled("\n".join(page), tmp_path, *([] if without_sanitizers(str(CC)) else [SANITIZE]))
    done = subprocess.run([program, *files], capture_output=True, text=True)
    cases_ = sum(f.dtype == "float32" for family in NAMES for f in SUITE.cases("softmax", family))
    assert (done.returncode, done.stdout) == (0, f"{cases_} of {cases_} cases pass\n"), done.stderr


@pytest.mark.parametrize("name", WRONG)
def test_a_newcomer_sees_what_is_wrong(page: list[str], tmp_path: Path, name: str) -> None:
    source = "\n".join(page)
    assert WRONG[name][0] in source
    program = compiled(source.replace(*WRONG[name]), tmp_path)
    done = subprocess.run(
        [program, *sorted((FOLDER / "ops" / "softmax").glob("*.json"))], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "softmax/float32/" in done.stdout


def perturbed(e: Expected, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """Answers inside, on the edge of, and outside what is allowed, and some that are no numbers."""
    bound = e.main.bounds[dtype]
    factor = rng.choice([0.0, 0.5, 0.98, 1.1, 2.0, 1e3], size=bound.shape)
    got = e.main.hi + factor * bound * rng.choice([-1.0, 1.0], size=bound.shape)
    got = np.where((bound == 0) & (factor > 1), np.nextafter(got.astype(dtype), np.dtype(dtype).type(9)), got)
    got = np.where(rng.random(bound.shape) < 0.1, rng.choice([np.nan, np.inf, 0.0], size=bound.shape), got)
    with np.errstate(over="ignore"):
        return got.astype(dtype).astype(np.float64)


SOUND = ("exact", "ok", "convention")


@pytest.mark.parametrize("op", ["conv1d", "cross_entropy", "elu", "gelu", "linear", "relu", "softmax", "tanh"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_file_and_the_judge_agree(op: str, dtype: str) -> None:
    """What the file accepts, the judge accepts, and the other way round, for right answers and for wrong ones: where
    both make a claim. The judge also knows what is suspect, in families that the files leave out."""
    rng = np.random.default_rng(3)
    compared = Counter[bool]()
    for fixture, _ in SUITE.select(op, dtype, ["smoke", "normal", "hard", "limits"]):
        case = fixture.case(dtype)
        judges = Judge(case, model(dtype), "accurate", math.inf)
        for want, e in fixture.expect.items():
            which = 0 if want == "y" else 1 + [*case.op.inputs].index(want[2:])
            for got in (e.main.hi.astype(dtype).astype(np.float64), *(perturbed(e, dtype, rng) for _ in range(3))):
                mine = NAMED[judge(e, got, dtype, fixture.conventions).code]
                theirs = judges.judge(which, got.reshape(fixture.shape(want))).code.ravel()
                for a, b, hi, bound, x in zip(mine, theirs, e.main.hi, e.main.bounds[dtype], got, strict=True):
                    word = VERDICT_NAMES[b]
                    if not a or not word or word == "out_of_scope":
                        assert not a and word in ("", "out_of_scope"), (fixture.id, want, a, word)
                        continue
                    # On the edge itself the file is that much kinder: its bounds are rounded up to float32.
                    if x != hi and abs(abs(x - hi) - bound) <= bound * 2.0**-20 + 2.0**-1072:
                        continue
                    assert (a in SOUND) == (word in SOUND), (fixture.id, want, a, word, x, hi, bound)
                    compared[a in SOUND] += 1
    assert min(compared[True], compared[False]) > 100


@pytest.mark.parametrize("op", ["max_pool1d", "maxout"])
def test_the_file_and_the_judge_agree_on_ties(op: str) -> None:
    """Whatever shares of a tied window: those that sum to its cotangent pass, others do not."""
    tried = 0
    for fixture, dtype in SUITE.select(op, families=["hard", "smoke"]):
        e = fixture.expect["d/x"]
        if not e.groups or any(len(set(g.at) & set(h.at)) for g in e.groups for h in e.groups if g is not h):
            continue
        case = fixture.case(dtype)
        judges = Judge(case, model(dtype), "accurate", math.inf)
        right = np.asarray(case.op.vjp(case.cotangent, *case.inputs, **case.params)[0], np.float64)
        assert set(NAMED[judge(e, right, dtype).code]) <= set(SOUND)
        for group in e.groups:
            wrong = right.copy().ravel()
            wrong[group.at] = group.hi  # the full gradient to every cell of the tie
            mine = NAMED[judge(e, wrong, dtype).code]
            theirs = judges.judge(1, wrong.reshape(right.shape)).code.ravel()
            assert not any(mine[i] in SOUND for i in group.at), fixture.id
            assert not all(VERDICT_NAMES[theirs[i]] in SOUND for i in group.at), fixture.id
            tried += 1
    assert tried >= 5


# --- what must be refused --------------------------------------------------------------------------------------------


def softmax(family: str = "special") -> dict[str, Any]:
    return json.loads((FOLDER / "ops" / "softmax" / f"{family}.json").read_text())


def first(d: dict[str, Any]) -> dict[str, Any]:
    return d["cases"][0]


def broken(change: Any) -> str:
    file = softmax()
    change(file)
    return json.dumps(file)


def at(*path: Any, to: Any) -> Any:
    def change(file: dict[str, Any]) -> None:
        for key in path[:-1]:
            file = file[key]
        file[path[-1]] = to

    return change


CASE = ("cases", 0)
Y = (*CASE, "expect", "y")
REFUSED = {
    "another schema": (at("schema", to=2), "schema is 2, expected 1"),
    "an unknown field of the file": (at("extra", to=1), "unknown field 'extra'"),
    "an unknown field of a case": (at(*CASE, "extra", to=1), "cases[0] has the unknown field 'extra'"),
    "an unknown field of a result": (at(*Y, "rtol", to=1), "expect.y has the unknown field 'rtol'"),
    "a missing field": (lambda f: first(f).pop("dtype"), "cases[0] has no field 'dtype'"),
    "too few cases": (lambda f: f["cases"].pop(), "numberOfCases is 7, but it has 6 cases"),
    "no cases": (at("cases", to=[]), "has 0 entries, expected at least 1"),
    "the same id twice": (lambda f: f["cases"].__setitem__(1, f["cases"][0]), "its id occurs twice"),
    "an id of another op": (
        at(*CASE, "id", to="relu/float32/special/x"),
        "its id is not one of softmax/float32/special",
    ),
    "a blank in an id": (at(*CASE, "id", to="softmax/float32/special/x y"), "cases[0].id is"),
    "an unknown dtype": (at(*CASE, "dtype", to="f32"), "dtype is 'f32', expected one of float16"),
    "a digit that is none": (at(*CASE, "inputs", "x", "bits", to="7fc000003f80000040000g00"), "inputs.x.bits is"),
    "a digit too few": (at(*CASE, "inputs", "x", "bits", to="7fc00000"), "inputs.x.bits has 8 digits, expected 24"),
    "ten gigabytes": (
        at(*CASE, "inputs", "x", "shape", to=[2_500_000_000]),
        "inputs.x.bits has 24 digits, expected 20000000000: 8 for each of 2500000000 float32",
    ),
    "a negative size": (at(*CASE, "inputs", "x", "shape", to=[-3]), "shape[0] is -3, expected at least 0"),
    "a class string of the wrong length": (at(*Y, "class", to="nn"), "expect.y.class has 2 letters, expected 3"),
    "an unknown class": (at(*Y, "class", to="nnq"), "expect.y.class is 'nnq'"),
    "hi of the wrong length": (at(*Y, "hi", to=""), "expect.y.hi has 0 digits, expected 48"),
    "NaN in hi": (at(*Y, "hi", to="7ff8000000000000" * 3), "hi and lo hold NaN or infinity"),
    "a negative bound": (at(*Y, "bound", "float32", to="bf800000" * 3), "bound.float32 holds -1.0, expected finite"),
    "an infinite bound": (at(*Y, "bound", "float32", to="7f800000" * 3), "bound.float32 holds inf, expected finite"),
    "a bound that is NaN": (at(*Y, "bound", "float32", to="7fc00000" * 3), "bound.float32 holds nan, expected finite"),
    "a bound too few": (at(*Y, "bound", "float32", to="00000000"), "bound.float32 has 8 digits, expected 24"),
    "no bound for its format": (lambda f: first(f)["expect"]["y"]["bound"].pop("float32"), "working formats"),
    "a result of no input": (lambda f: first(f)["expect"].update({"d/z": {}}), "expect.d/z has no field"),
    "a place beyond the end": (
        at("cases", 3, "expect", "y", "also", 0, "at", to=[0, 1, 3]),
        "also[0].at is [0, 1, 3], expected increasing places below 3",
    ),
    "a flag without a note": (at(*CASE, "flags", to=["odd"]), "the flag 'odd' has no note"),
    "a number for an input": (at(*CASE, "inputs", "x", to=1.0), "cases[0].inputs.x is 1.0, expected object or null"),
    "true for the schema": (at("schema", to=True), "schema is True, expected 1"),
    "a name that is none": (
        lambda f: first(f)["expect"].update({"a b": first(f)["expect"]["y"]}),
        "is 'a b', expected",
    ),
    "true for a number": (at("numberOfCases", to=True), "numberOfCases is True, expected integer"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_file_is_refused_in_one_sentence(name: str) -> None:
    change, expected = REFUSED[name]
    with pytest.raises(ValueError, match=re.escape(expected)) as e:
        load(broken(change), "special.json")
    assert str(e.value).startswith("special.json") and "\n" not in str(e.value)


def test_a_file_that_is_as_it_was_is_read() -> None:
    assert len(load(broken(lambda f: None), "special.json")) == 7


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "it is not JSON (Expecting value at line 1, column 1)"),
        ('{"schema": 1,\n]', "it is not JSON (Expecting property name"),
        ('{"schema": 1, "schema": 1}', "the field 'schema' occurs twice"),
        ('{"schema": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "it is not JSON (RecursionError)"),
        (b'{"schema": "\xff"}', "it is not JSON (UnicodeDecodeError)"),
        ("[]", "its schema is None, expected 1"),
    ],
)
def test_what_is_no_json_is_refused(text: str | bytes, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        load(text, "x.json")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name in ("softmax", "relu"):
        shutil.copytree(FOLDER / "ops" / name, tmp_path / "ops" / name)
    (tmp_path / "MANIFEST.json").write_text(manifest(tmp_path))
    return tmp_path


def test_a_folder_of_fixtures_is_read(copied: Path) -> None:
    suite = Suite(copied)
    suite.verify()
    assert {f.op for f, _ in suite.select()} == {"relu", "softmax"}
    assert [d for _, d in suite.select("softmax", "float64")].count("float64") > 40


def test_a_tampered_file_is_refused(copied: Path) -> None:
    path = copied / "ops" / "softmax" / "smoke.json"
    path.write_text(path.read_text().replace("3f", "3e", 1))
    with pytest.raises(ValueError, match=r"smoke.json: its sha256 is .* but the manifest says .* it was changed"):
        Suite(copied).verify()
    with pytest.raises(ValueError, match="it was changed"):
        [*Suite(copied).select("softmax")]


def test_a_loosened_bound_is_refused(copied: Path) -> None:
    path = copied / "ops" / "relu" / "normal.json"
    text = path.read_text()
    loose = re.sub(r'"float32":"0{8}', '"float32":"3f800000', text, count=1)
    assert loose != text
    path.write_text(loose)
    with pytest.raises(ValueError, match="it was changed"):
        Suite(copied).verify()


def changed_manifest(folder: Path, change: Any) -> Path:
    path = folder / "MANIFEST.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return folder


def test_a_wrong_manifest_is_refused(copied: Path) -> None:
    def entry(**fields: Any) -> Any:
        return lambda m: m["files"][0].update(fields)

    for change, expected in (
        (entry(path="ops/../../outside.json"), "leaves its folder"),
        (entry(path="/etc/passwd"), "leaves its folder"),
        (entry(path="ops/none/smoke.json"), "there is no file 'ops/none/smoke.json'"),
        (entry(sha256="0" * 63), "files[0].sha256 is"),
        (entry(cases=99), "totals.cases is"),
        (lambda m: m["files"].pop(), "totals.cases is"),
        (lambda m: m.update(schema=7), "its schema is 7, expected 1"),
        (lambda m: m.update(commit="x"), "unknown field 'commit'"),
    ):
        shutil.copy(copied / "MANIFEST.json", copied / "kept")
        with pytest.raises(ValueError, match=re.escape(expected)):
            Suite(changed_manifest(copied, change)).verify()
        shutil.copy(copied / "kept", copied / "MANIFEST.json")
    (copied / "MANIFEST.json").unlink()
    with pytest.raises(ValueError, match=r"MANIFEST.json: there is no such file"):
        Suite(copied)


def test_a_file_that_is_not_listed_is_refused(copied: Path) -> None:
    shutil.copy(copied / "ops" / "relu" / "smoke.json", copied / "ops" / "relu" / "more.json")
    with pytest.raises(ValueError, match=r"'ops/relu/more.json' is not listed"):
        Suite(copied).verify()


def test_a_link_out_of_the_folder_is_refused(copied: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "smoke.json"
    path = copied / "ops" / "relu" / "smoke.json"
    shutil.move(path, outside)
    path.symlink_to(outside)
    with pytest.raises(ValueError, match="leaves its folder"):
        Suite(copied).verify()


# --- schemas ---------------------------------------------------------------------------------------------------------


def rules(rule: Any) -> Iterator[dict[str, Any]]:
    """A schema and those inside it."""
    yield rule
    for word, below in rule.items():
        if word in ("properties", "$defs"):
            below = [*below.values()]
        for part in below if isinstance(below, list) else [below]:
            if isinstance(part, dict):
                yield from rules(part)


@pytest.mark.parametrize("name", ["fixture", "manifest", "network", "output", "protocol"])
def test_every_rule_of_the_schemas_has_a_sentence_and_is_read_by_every_validator(name: str) -> None:
    """What a validator does not know it passes over. To the drafts before 2019, and to fastjsonschema, that is whatever
    stands beside a $ref."""
    said = "type const enum pattern minimum minItems required additionalProperties propertyNames"
    others = "$schema $id $defs $ref title description items properties allOf"
    for rule in rules(schema(name)):
        assert rule.keys() <= {*said.split(), *others.split()}
        assert "$ref" not in rule or len(rule) == 1, rule


def test_the_schemas_mean_the_same_to_another_validator() -> None:
    """jsonschema accepts and refuses the same."""
    jsonschema = pytest.importorskip("jsonschema")
    for name in ("fixture", "manifest", "output", "protocol"):
        jsonschema.Draft202012Validator.check_schema(json.loads(data("schema", f"{name}.schema.json").read_text()))
    validator = jsonschema.Draft202012Validator(json.loads(data("schema", "fixture.schema.json").read_text()))
    for family in NAMES:
        assert validator.is_valid(softmax(family))
    for name, (change, _) in REFUSED.items():
        file = json.loads(broken(change))
        try:
            check(file, "fixture", "x")
            valid = True
        except ValueError:
            valid = False
        assert validator.is_valid(file) == valid, name


def test_the_hash_of_the_manifest_is_that_of_its_bytes() -> None:
    assert SUITE.digest == hashlib.sha256((FOLDER / "MANIFEST.json").read_bytes()).hexdigest()
