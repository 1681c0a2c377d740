"""The C kit: it compiles without a warning; its layers and its network pass, under sanitizers too, in float and in
double; with a bug planted in them the gradient that is wrong is named."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiler import CC, SANITIZE, without_sanitizers

import refnn
from refnn.conformance import data
from refnn.judging.verdict import NAMES as VERDICT_NAMES
from refnn.report import Report
from refnn.suite.c_kit import NETWORK, SHAPES, fixture, write
from refnn.suite.export import c_header
from refnn.suite.fixture import Expected
from refnn.suite.pipe import Selection, requests, verify
from refnn.suite.read import Suite
from refnn.suite.rule import judge
from refnn.teaching import storage
from refnn.wire.encoding import encode

KIT = data("c", "layers.h").parent
SUITE = Suite()
OPS = "linear,conv1d,relu,flatten,softmax,log_softmax,cross_entropy"
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
SANITIZED = ("-O1", "-g", SANITIZE, "-fno-sanitize-recover=all")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(refnn.__file__).parents[1])}
BUILDS = ("optimised", "fused", "sanitized")
DTYPES = {"float32": (), "float64": ("-DDOUBLE",)}

pytestmark = pytest.mark.skipif(CC is None, reason="there is no C compiler")

Bug = tuple[str, str, str]  # in this file, this text, becomes that

NAMED = np.array(VERDICT_NAMES)  # verdicts by their codes


def build(program: str, folder: Path, *options: str, bug: Bug | None = None) -> Path:
    """Compile a program of the kit, or of `folder`, in a copy of the kit. Skips where it cannot run as it should."""
    if SANITIZE in options and (why := without_sanitizers(str(CC))):
        pytest.skip(why)
    for path in KIT.glob("*.[ch]"):
        if not (folder / path.name).exists():
            shutil.copy(path, folder)
    if bug is not None:
        name, right, wrong = bug
        text = (folder / name).read_text()
        assert text.count(right) == 1, f"{name} has {text.count(right)} times {right!r}"
        (folder / name).write_text(text.replace(right, wrong))
    command = [CC, *STRICT, *(options or ("-O2",)), f"{program}.c", "-o", program, "-lm"]
    done = subprocess.run([str(c) for c in command], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return folder / program


def run(program: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([program], input=text, capture_output=True, text=True, timeout=60)


# --- layers ----------------------------------------------------------------------------------------------------------


def asked(program: Path, selection: Selection) -> Report:
    """What the fixtures say of a program."""
    done = run(program, "\n".join(requests(SUITE, selection)) + "\n")
    assert (done.returncode, done.stderr) == (0, "")
    return verify(SUITE, [row.encode() for row in done.stdout.splitlines(keepends=True)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [("-O2",), ("-O3", "-march=native", "-ffp-contract=fast"), SANITIZED], ids=BUILDS)
def test_the_layers_pass_the_suite(dtype: str, options: tuple[str, ...], tmp_path: Path) -> None:
    report = asked(build("mynn", tmp_path, *options, *DTYPES[dtype]), Selection(OPS, dtype))
    assert report.ok, str(report)
    cases = Selection(OPS, dtype).cases(SUITE)
    skipped = {f.op for f, _ in cases if f.id in report.skips}
    assert set(report.skips.values()) == {"no cross_entropy with weight or label_smoothing"} and skipped == {
        "cross_entropy"
    }
    assert len(cases) - len(report.skips) > 200 and len(report.skips) < 30


# What is wrong, and the gradients (or "y") of each op that must be found wrong, in some family.
LAYER_BUGS: Mapping[str, tuple[Bug, Selection, set[str]]] = {
    "the mask of (22) is missing": (
        ("layers.h", "if (x[j] <= 0)", "if (x[j] != x[j])"),
        Selection("relu", "float32"),
        {"relu d/x"},
    ),
    "the weight is transposed": (
        ("layers.h", "dx[i] += dLa[j] * W[j][i];", "dx[i] += dLa[j] * W[0][i * J + j];"),
        Selection("linear", "float32"),
        {"linear d/x"},
    ),
    "the weight's gradient is that of one sample": (
        ("layers.h", "dW[j][i] += dLa[j] * x[i];", "dW[j][i] = dLa[j] * x[i];"),
        Selection("linear", "float32"),
        {"linear d/weight"},
    ),
    "the bias is counted once in a channel": (
        ("layers.h", "dB[j] += dFLa[j][q];", "dB[j] += q ? 0 : dFLa[j][q];"),
        Selection("conv1d", "float32"),
        {"conv1d d/bias"},
    ),
    "outputs of (39), taps of (40)": (
        ("layers.h", "sq / n.s < n.Q)", "sq / n.s < n.Q && sq / n.s < n.FS)"),
        Selection("conv1d", "float32"),
        {"conv1d d/x"},
    ),
    "a flipped kernel": (
        ("layers.h", "fa[j][q] += fw[j][i][c] * fx[i][u];", "fa[j][q] += fw[j][i][n.FS - 1 - c] * fx[i][u];"),
        Selection("conv1d", "float32"),
        {"conv1d y"},
    ),
    "softmax is not shifted": (
        ("layers.h", "y[j] = EXP(a[j] - m);", "y[j] = EXP(a[j] - 0 * m);"),
        Selection("softmax", "float32", ("limits",)),
        {"softmax y", "softmax d/x"},
    ),
    "softmax is scaled, as challa2023 has it": (
        ("layers.h", "y[j] = EXP(a[j] - m);", "y[j] = EXP(m > 88 ? a[j] * (88 / m) : a[j]);"),
        Selection("softmax", "float32", ("limits",)),
        {"softmax y", "softmax d/x"},
    ),
    "the mean is missing in (5)": (
        ("layers.h", "da[j] = y[j] * (dy[j] - sum);", "da[j] = y[j] * dy[j] - 0 * sum;"),
        Selection("softmax", "float32"),
        {"softmax d/x"},
    ),
    "the targets are taken to sum to one": (
        ("layers.h", "dLa[j] = y[j] * sum - t[j];", "dLa[j] = y[j] - t[j] + 0 * sum;"),
        Selection("cross_entropy", "float32"),
        {"cross_entropy d/input"},
    ),
    "0 log 0 is NaN": (
        ("layers.h", "t[j] == 0 && z[j] < 0 ? 0 : t[j] * z[j]", "t[j] * z[j]"),
        Selection("cross_entropy", "float32", ("special",)),
        {"cross_entropy y"},
    ),
    "the logarithm of a softmax": (
        (
            "layers.h",
            "    sum = LOG(sum);\n",
            "    for (int j = 0; j < J; j++) z[j] = LOG(EXP(z[j]) / sum);\n    sum = 0;\n",
        ),
        Selection("log_softmax", "float32"),
        {"log_softmax y"},
    ),
}


@pytest.mark.parametrize("name", LAYER_BUGS)
def test_a_wrong_layer_is_named(name: str, tmp_path: Path) -> None:
    bug, selection, wrong = LAYER_BUGS[name]
    report = asked(build("mynn", tmp_path, "-O0", "-Wno-error", bug=bug), selection)
    assert not report.ok
    found = {f"{f.op} {f.what}" for f in report.findings if f.verdict in ("violation", "special")}
    assert found == {w.replace(" y", " output").replace("d/", "grad[") + "]" * ("d/" in w) for w in wrong}
    assert all(w.partition(" ")[2].replace("d/", "").replace("y", "output") in str(report) for w in wrong)


def test_a_program_in_a_pipe(tmp_path: Path) -> None:
    """The line of the README, with a program that is right and with one that is wrong."""
    refnn = f"{sys.executable} -m refnn"
    line = f"{refnn} gen softmax --lines --dtype float32 | ./mynn | {refnn} verify -"
    for bug, code in ((None, 0), (LAYER_BUGS["softmax is not shifted"][0], 2)):
        folder = tmp_path / str(code)
        folder.mkdir()
        build("mynn", folder, bug=bug)
        done = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, env=ENVIRONMENT)
        assert done.returncode == code, done.stderr + done.stdout
        assert ("softmax/float32/limits/" in done.stdout) == bool(code)


# --- lines that are none ---------------------------------------------------------------------------------------------

X = "x[2]=3f80000040000000 gy[2]=3f80000040000000"
LINES = {
    "": "",
    "# a comment": "# a comment",
    "# a comment\r": "# a comment",
    f"a relu float32 {X} ?y": "a y=3f80000040000000",
    f"a  relu  float32 {X}  ?d/x,y\r": "a d/x=3f80000040000000 y=3f80000040000000",
    "a relu float32 x[2]=7FC0000080000000 gy[2]=3f80000040000000 ?y": "a y=7fc0000000000000",
    f"a relu float64 {X} ?y": "a SKIP computes in float32 only",
    f"a gelu float32 {X} ?y": "a SKIP no such op here",
    f"a relu float32 {X} ?y,d/weight": "a y=3f80000040000000",
    f"a relu float32 {X} ?d/weight": "a SKIP nothing that is wanted is here",
    f"a relu float32 {X} ?": "a SKIP nothing that is wanted is here",
    "a": "a ERR a line without op or dtype",
    "a relu": "a ERR a line without op or dtype",
    f"a relu float32 {X}": "a ERR a line without ?",
    "a relu float32 x[2]=3f800000 ?y": "a ERR a tensor with another number of digits than its shape has",
    "a relu float32 x[2]=3f800000400000000 ?y": "a ERR a tensor with another number of digits than its shape has",
    "a relu float32 x[1]=3f80000g ?y": "a ERR a tensor with a digit that is none",
    "a relu float32 x[1]:int32=3f800000 ?y": "a ERR a tensor without =",
    "a relu float32 x[1] ?y": "a ERR a tensor without =",
    "a relu float32 x[1=3f800000 ?y": "a SKIP a shape that is none, or too large",
    "a relu float32 x[-1]=3f800000 ?y": "a SKIP a shape that is none, or too large",
    "a relu float32 x[2500000000]=3f800000 ?y": "a SKIP a shape that is none, or too large",
    "a relu float32 x[99999999999999999999]=3f800000 ?y": "a SKIP a shape that is none, or too large",
    "a relu float32 x[30000,30000]=3f800000 ?y": "a SKIP a tensor that is too large",
    "a relu float32 x[1,1,1,1,1,1,1,1,1]=3f800000 ?y": "a SKIP a shape that is none, or too large",
    "a relu float32 x ?y": "a ERR an item without =, or too many",
    f"a relu float32 {'p=1 ' * 17}{X} ?y": "a ERR an item without =, or too many",
    "a relu float32 x[1]=3f800000 ?y": "a ERR shapes that do not fit",
    "a relu float32 x=null gy[]=3f800000 ?y": "a ERR shapes that do not fit",
    "a softmax float32 axis=5 x[1]=3f800000 gy[1]=3f800000 ?y": "a ERR shapes that do not fit",
    "a softmax float32 axis=0 x[]=3f800000 gy[]=3f800000 ?y": "a ERR shapes that do not fit",
    "a softmax float32 axis=-1 x[0,3]= gy[0,3]= ?y,d/x": "a y= d/x=",
    "a linear float32 x[1]=3f800000 weight[0,1]= bias=null gy[0]= ?y": "a ERR shapes that do not fit",
    "a linear float32 x[2]=3f8000003f800000 weight[1,1]=3f800000 bias[3]=3f8000003f8000003f800000"
    " gy[2]=3f8000003f800000 ?y": "a ERR shapes that do not fit",
    "a conv1d float32 stride=0 padding=0 dilation=1 groups=1 x[1,1]=3f800000 weight[1,1,1]=3f800000 bias=null"
    " gy[1,1]=3f800000 ?y": "a ERR shapes that do not fit",
    "a conv1d float32 stride=1 padding=0 dilation=1 groups=1 x[1,1]=3f800000 weight[1,1,2]=3f8000003f800000 bias=null"
    " gy[1,0]= ?y": "a ERR shapes that do not fit",
    "a conv1d float32 stride=1 padding=0 dilation=99999 groups=2 x[2,1]=3f8000003f800000"
    " weight[1,1,99999]=3f800000 bias=null gy[1,1]=3f800000 ?y": "a SKIP a shape that is none, or too large",
    "a conv1d float32 stride=1 padding=2147483647 dilation=2147483647 groups=1 x[1,2]=3f8000003f800000"
    " weight[1,1,2]=3f8000003f800000 bias=null gy[1,1]=3f800000 ?y": "a ERR shapes that do not fit",
    "a conv1d float32 stride=1 padding=2147483647 dilation=1 groups=1 x[1,2]=3f8000003f800000"
    " weight[1,1,2]=3f8000003f800000 bias=null gy[1,1]=3f800000 ?y": "a ERR shapes that do not fit",
    "a conv1d float32 stride=1 padding=0 dilation=1 groups=1 x[0,1,9]= weight[2,1,1]=3f8000003f800000 bias=null"
    " gy[0,2,9]= ?y,d/weight": "a y= d/weight=0000000000000000",
    "a relu float32 x[0,30000,30000]= gy[0]= ?y": "a SKIP a tensor that is too large",
    "a cross_entropy float32 reduction=mean input[1,2]=3f80000040000000 target[1]:int64=0000000000000009"
    " gy[]=3f800000 ?d/input": "a d/input=0000000000000000",
}


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("mynn", tmp_path_factory.mktemp("sanitized"), *SANITIZED)


@pytest.mark.xdist_group("sanitized")
def test_lines_that_are_none_are_answered_in_a_sentence(sanitized: Path) -> None:
    done = run(sanitized, "".join(f"{line}\n" for line in LINES))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [answer for answer in LINES.values() if answer]


def test_a_line_that_is_too_long_is_skipped_and_the_rest_goes_on(tmp_path: Path) -> None:
    program = build("mynn", tmp_path, *SANITIZED, "-DREFNN_LINE=64")
    short = f"b relu float32 {X} ?y"
    assert len(short) < 63
    done = run(program, f"long{X * 9} relu\nexactly {'x' * 55}\n{'c' * 64}\n{short}\n{short[:20]}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"long{X.split()[0]} SKIP the line has more than 63 bytes",
        "exactly ERR a line without op or dtype",
        f"{'c' * 63} SKIP the line has more than 63 bytes",
        "b y=3f80000040000000",
        "b ERR a tensor with another number of digits than its shape has",
    ]


@pytest.mark.xdist_group("sanitized")
def test_lines_with_errors_do_no_harm(sanitized: Path) -> None:
    """Every request of the kit's ops, with some characters changed, lost or doubled."""
    lines, rng = [], np.random.default_rng(0)
    for line in requests(SUITE, Selection(OPS, "float32"))[1:] * 5:
        for _ in range(rng.integers(1, 4)):
            at, word = int(rng.integers(len(line))), rng.choice([*"[],=:?0123456789afg ", "", "null", "-1", "00", "e9"])
            line = line[:at] + word + line[at + rng.integers(2) :]
        lines.append(line)
    done = run(sanitized, "".join(f"{line}\n" for line in lines))
    assert (done.returncode, done.stderr) == (0, "")
    answers = Counter(answer.split()[1].partition("=")[0] for answer in done.stdout.splitlines())
    assert sum(answers.values()) == len(lines) and min(answers[w] for w in ("SKIP", "ERR", "y")) > 50, answers


def test_a_compiler_without_sanitizers_is_no_failure(tmp_path: Path) -> None:
    lacking = tmp_path / "lacking"
    lacking.write_text("#!/bin/sh\necho cannot find -lasan: No such file or directory >&2\nexit 1\n")
    lacking.chmod(0o755)
    assert without_sanitizers(str(lacking)) == (
        "lacking has no address and undefined-behaviour sanitizers here: cannot find -lasan: No such file or directory"
    )


def test_nothing_is_allocated() -> None:
    for path in KIT.glob("*.[ch]"):
        assert not re.search(r"\b([mc]alloc|realloc|free|alloca)\b", path.read_text()), path
    allowed = {"float.h", "math.h", "stddef.h", "stdint.h", "string.h", "refnn_fixtures.h"}
    assert set(re.findall(r"#include [<\"](.*)[>\"]", (KIT / "refnn_verify.h").read_text())) == allowed


# --- the rule --------------------------------------------------------------------------------------------------------

JUDGE = """
#include <stdio.h>
#include "refnn_verify.h"
#include "cases.h"
int main(void)
{
    int c, r;
    long size;
    static char hex[1 << 16];
    static unsigned char got[1 << 15];
    while (scanf("%d %d %ld %65535s", &c, &r, &size, hex) == 4) {
        int digits = size ? (int)((long)strlen(hex) / size) : 8;
        for (long i = 0; i < size; i++) {
            uint64_t bits;
            if (!refnn_hex(hex + i * digits, digits, &bits))
                return 1;
            uint32_t narrow = (uint32_t)bits;
            memcpy(got + i * digits / 2, digits == 8 ? (void *)&narrow : (void *)&bits, (size_t)digits / 2);
        }
        const refnn_result *e = &refnn_cases[c].result[r];
        if (refnn_wanted(&refnn_cases[c], e->name) != e)
            return 1;
        refnn_outcome o = refnn_check(e, got, digits / 2, size);
        printf("%ld %ld %ld %s\\n", o.failed, o.at, o.explained, o.by ? o.by : "-");
    }
    return 0;
}
"""
JUDGED = ("max_pool1d", "relu", "hardshrink", "softmax", "log_softmax", "sigmoid")


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_kit_and_the_verifier_say_the_same(dtype: str, tmp_path: Path) -> None:
    """Of right answers, of answers on and beside the edges of what is allowed, and of numbers that are none; of ranges,
    tables of special values, jumps, ties, and classes of algorithms."""
    rng = np.random.default_rng(1)
    cases = [c for op in JUDGED for c in SUITE.select(op, dtype)]
    (tmp_path / "cases.h").write_bytes(c_header(cases, SUITE))
    (tmp_path / "judge.c").write_text(JUDGE)
    rows, expected = [], []
    for c, (f, _) in enumerate(cases):
        for r, (want, e) in enumerate(f.expect.items()):
            for got in answers(e, dtype, rng):
                codes = NAMED[judge(e, got, dtype, f.conventions).code]
                rows.append(f"{c} {r} {got.size} {encode(got.astype(dtype)) or '-'}")
                bad, explained = np.isin(codes, ["violation", "special"]), codes == "explained"
                expected.append((bad, explained, bool(e.groups), want))
    program = build("judge", tmp_path, *SANITIZED)
    done = run(program, "\n".join(rows))
    assert (done.returncode, done.stderr) == (0, "")
    said = [line.split(" ", 3) for line in done.stdout.splitlines()]
    assert len(said) == len(rows)
    verdicts = Counter[str]()
    for (failed, at, explained, by), (bad, other, grouped, _) in zip(said, expected, strict=True):
        assert (failed != "0") == bad.any()
        if not grouped:
            assert (int(failed), int(explained)) == (bad.sum(), other.sum())
            assert not bad.any() or int(at) == np.flatnonzero(bad)[0]
        assert (by != "-") == (explained != "0")
        verdicts["fails" if bad.any() else "explained" if other.any() else "passes"] += 1
    assert min(verdicts[w] for w in ("fails", "explained", "passes")) > 20, verdicts


def answers(e: Expected, dtype: str, rng: np.random.Generator) -> list[np.ndarray]:
    """Numbers of the working format, as float64."""
    words = {"n": np.nan, "p": np.inf, "m": -np.inf, "z": 0.0, "Z": -0.0}
    right = np.array([words.get(c, hi) for c, hi in zip(e.main.letters, e.main.hi, strict=True)])
    made = [right, right + rng.choice([-2, 0, 0, 2], right.shape) * e.main.bounds[dtype]]
    for c in (e.main, *(c for c in e.also if dtype in c.bounds)):
        for sign in (-1, 1):
            edge = right.copy()
            edge[... if c.at is None else c.at] = c.hi + sign * c.bounds[dtype]
            made.append(edge)
    for odd in (np.nan, np.inf, -np.inf, 0.0, -0.0):
        made.append(np.where(rng.random(right.shape) < 0.2, odd, right))
    with np.errstate(over="ignore", under="ignore"):
        stored = [x.astype(dtype) for x in made]
        beside = [np.nextafter(x, np.dtype(dtype).type(way)) for x in stored[2:] for way in (-np.inf, np.inf)]
    return [x.astype(np.float64) for x in (*stored, *beside)]


# --- the network -----------------------------------------------------------------------------------------------------


def case_header(folder: Path, dtype: str) -> None:
    (folder / "network_case.h").write_bytes(c_header([(fixture(), dtype)], SUITE))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [("-O2",), ("-O3", "-march=native", "-ffp-contract=fast"), SANITIZED], ids=BUILDS)
def test_the_network_passes_its_case(dtype: str, options: tuple[str, ...], tmp_path: Path) -> None:
    case_header(tmp_path, dtype)
    done = run(build("check_network", tmp_path, *options, *DTYPES[dtype]))
    assert (done.returncode, done.stdout, done.stderr) == (0, "9 of 9 results pass\n", "")


def test_the_case_of_the_network_is_made_again_to_the_byte(tmp_path: Path) -> None:
    assert write(tmp_path).read_bytes() == (KIT / "network_case.h").read_bytes(), "refnn gen --all"


GATHER = """\
    for (int j = 0; j < J2; j++) /* (33); the mask is that of the convolution, and flatten has none */
        for (int q = 0; q < Q2; q++)
            conv2.dFLa[j][q] = flat.dLa[Q2 * j + q];
"""
MASKED = "    for (int j = 0; j < J2; j++)\n        relu_below(Q2, conv2.fx[j], conv2.dFLa[j]);\n"
BELOW_CONV2 = {"d/conv1.weight", "d/conv1.bias"}
BELOW_FC1 = {"d/conv2.weight", "d/conv2.bias"} | BELOW_CONV2
BELOW_FC2 = {"d/fc1.weight", "d/fc1.bias"} | BELOW_FC1
NETWORK_BUGS: Mapping[str, tuple[Bug, set[str]]] = {
    "(36) as printed: no mask in the bias of a convolution": (
        (
            "network.h",
            "    conv_gradient(shape2, conv2.dFLa, conv1.fx, conv2.dW, conv2.dB);\n",
            "    real other[J2] = {0};\n    conv_gradient(shape2, conv2.dFLa, conv1.fx, conv2.dW, other);\n"
            "    for (int j = 0; j < J2; j++)\n        for (int q = 0; q < Q2; q++)\n"
            "            conv2.dB[j] += flat.dLa[Q2 * j + q];\n",
        ),
        {"d/conv2.bias"},
    ),
    "(33) as printed: no mask at all": (("network.h", MASKED, ""), BELOW_FC1),
    "(26) as printed: no mask in dLa": (
        ("network.h", "    relu_below(J4, fc1.X, fc1.dLa);\n", ""),
        BELOW_FC2,
    ),
    "flatten is read as channels-last": (
        ("network.h", GATHER, GATHER.replace("Q2 * j + q", "J2 * q + j")),
        BELOW_FC1,
    ),
    "the last layer is updated before the layers below it": (
        (
            "network.h",
            "    dense_below(J4, M, fc2.W, fc2.dLa, fc1.dLa);\n",
            "    for (int i = 0; i < M * J4; i++)\n        ((real *)fc2.W)[i] -= (real)0.01 * ((real *)fc2.dW)[i];\n"
            "    dense_below(J4, M, fc2.W, fc2.dLa, fc1.dLa);\n",
        ),
        {"y", "d/fc2.weight", "d/fc2.bias"} | BELOW_FC2,
    ),
    "dropout is forgotten on the way back": (
        ("network.h", "        fc1.dLa[j] *= fc1.D[j];\n", "        ;\n"),
        BELOW_FC2,
    ),
    "the gradients of the batch before are left": (
        ("network.h", "parameters[n].gradient[i] = 0;", "parameters[n].gradient[i] = (real)0.001;"),
        {"d/fc2.weight", "d/fc2.bias"} | BELOW_FC2,
    ),
    "a stale dLa where the neat trick skips": (
        (
            "layers.h",
            "        if (x[j] <= 0)\n            dLa[j] = 0;\n",
            "        if (x[j] < 0)\n            dLa[j] = 0;\n",
        ),
        BELOW_FC2,
    ),
    "the loss is 1/M of it": (("network.h", "return loss / S;", "return loss / (S * M);"), {"y"}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NETWORK_BUGS)
def test_a_wrong_gradient_of_the_network_is_named(name: str, dtype: str, tmp_path: Path) -> None:
    bug, wrong = NETWORK_BUGS[name]
    case_header(tmp_path, dtype)
    done = run(build("check_network", tmp_path, "-O0", *DTYPES[dtype], bug=bug))
    named = {line.partition(":")[0] for line in done.stdout.splitlines()[:-1]}
    assert (done.returncode, named) == (2, wrong), done.stdout
    assert done.stdout.endswith(f"{9 - len(wrong)} of 9 results pass\n")


def test_the_page_shows_what_is_said_of_equation_36(tmp_path: Path) -> None:
    done = run(build("check_network", tmp_path, bug=next(iter(NETWORK_BUGS.values()))[0]))
    said, page = (re.sub(r"-?\d\.\d+", "", text) for text in (done.stdout, (KIT / "README.md").read_text()))
    assert all(f"    {line}\n" in page for line in said.splitlines())


UPDATE = """
#include <stdio.h>
#include "network.h"
int main(void)
{
    unsigned seed = 1;
    for (int n = 0; n < 2 * (N - 2); n++)
        for (int i = 0; i < parameters[n].count; i++) {
            parameters[n].value[i] = (real)(seed = seed * 1103515245u + 12345u) / 4294967296;
            parameters[n].gradient[i] = (real)(seed = seed * 1103515245u + 12345u) / 4294967296;
            printf("%.17g %.17g ", (double)parameters[n].value[i], (double)parameters[n].gradient[i]);
        }
    update((real)0.1);
    for (int n = 0; n < 2 * (N - 2); n++)
        for (int i = 0; i < parameters[n].count; i++)
            printf("%.17g ", (double)parameters[n].value[i]);
    return 0;
}
"""


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_update_is_gradient_descent_on_the_mean(dtype: str, tmp_path: Path) -> None:
    """w - eta dW / S, in that order of roundings, for every parameter once."""
    (tmp_path / "steps.c").write_text(UPDATE)
    numbers = np.array(run(build("steps", tmp_path, "-O0", *DTYPES[dtype])).stdout.split(), dtype)
    count = sum(math.prod(SHAPES[p]) for p in NETWORK.parameters)
    assert len(numbers) == 3 * count
    (w, dw), after, real = numbers[: 2 * count].reshape(-1, 2).T, numbers[2 * count :], np.dtype(dtype).type
    assert (after == w - real(0.1) * dw / real(4)).all() and (after != w).all()


# --- its twin in Python ----------------------------------------------------------------------------------------------


def test_the_twin_in_python_passes_the_same_case() -> None:
    f = fixture()
    a = {n: x.astype(np.float64) for n, x in f.inputs.items() if x is not None}
    net = [storage.source(2, 8)]
    net += [storage.conv(net[-1], a["conv1.weight"], a["conv1.bias"])]
    net += [storage.conv(net[-1], a["conv2.weight"], a["conv2.bias"])]
    net += [storage.flatten(net[-1])]
    net += [storage.dense(net[-1], a["fc1.weight"], a["fc1.bias"])]
    net += [storage.dense(net[-1], a["fc2.weight"], a["fc2.bias"], "softmax")]
    for x, mask, t in zip(a["x"], a["mask"], a["target"], strict=True):
        net[4].D[...] = mask / 0.5
        storage.forward(net, x)
        storage.delta(net, t)
        storage.backward(net)
    layers = dict(zip(("conv1", "conv2", "fc1", "fc2"), (net[1], net[2], net[4], net[5]), strict=True))
    for name in NETWORK.parameters:
        layer, _, part = name.partition(".")
        got = (layers[layer].dW if part == "weight" else layers[layer].dB) / 4
        assert set(NAMED[judge(f.expect[f"d/{name}"], got, "float64").code]) <= {"exact", "ok"}, name


def test_the_twins_have_the_same_names() -> None:
    """What a node stores and what is computed of it, in C and in Python."""
    layers, network = ((KIT / name).read_text() for name in ("layers.h", "network.h"))
    for kind in (storage.Dense, storage.Conv, storage.Flatten):
        for part in dataclasses.fields(kind):
            if len(part.name) > 1 or part.name.isupper():
                assert re.search(rf"\b{part.name}\[", network), part.name
    for name in ("forward", "backward", "update", "delta"):
        assert f" {name}(" in layers + network and callable(getattr(storage, name))
    for name in ("dense_forward", "conv_forward", "softmax", "dense_gradient", "conv_gradient"):
        assert f" {name}(" in layers and callable(getattr(storage, f"_{name}"))


# --- a newcomer ------------------------------------------------------------------------------------------------------

TOOLS = ("sh", "cc", "as", "ld", "awk", "sed", "cat", "mv", "rm", "mktemp", "dirname")
MINE = """
static void softmax(const float *x, const float *g, int outer, int n, int inner, float *y, float *dx)
{
    for (int at = 0, o = 0; o < outer; o++)
        for (int i = 0; i < inner; i++) {
            float top = -INFINITY, sum = 0, mean = 0;
            at = o * n * inner + i;
            for (int k = n; k-- > 0;) top = fmaxf(top, x[at + k * inner]);
            for (int k = n; k-- > 0;) sum += expf(x[at + k * inner] - top);
            for (int k = n; k-- > 0;) y[at + k * inner] = expf(x[at + k * inner] - top) / sum;
            for (int k = n; k-- > 0;) mean += y[at + k * inner] * g[at + k * inner];
            for (int k = n; k-- > 0;) dx[at + k * inner] = y[at + k * inner] * (g[at + k * inner] - mean);
        }
}
"""


@pytest.fixture
def newcomer(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs verify_softmax.sh where there is a C compiler, the files, and no Python."""
    for part in ("FORMAT.md", "ops/softmax", "c/verify_softmax.sh"):
        source, target = KIT.parent / part, tmp_path / "conformance" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = CC if tool == "cc" else shutil.which(tool)
        assert found is not None, f"a POSIX system has no {tool}"
        (tmp_path / "bin" / tool).symlink_to(found)
    env = {"PATH": str(tmp_path / "bin")}
    sh = tmp_path / "bin" / "sh"
    assert subprocess.run(
        [sh, "-c", "command -v python || command -v python3"], env=env, capture_output=True
    ).returncode

    def verify(*args: Path) -> subprocess.CompletedProcess[str]:
        command = [sh, tmp_path / "conformance" / "c" / "verify_softmax.sh", *args]
        return subprocess.run(command, env=env, capture_output=True, text=True)

    return verify


def test_a_newcomer_needs_a_compiler_and_the_files_only(newcomer: Any, tmp_path: Path) -> None:
    cases = sum(f.dtype == "float32" for f, _ in SUITE.select("softmax"))
    (tmp_path / "mine.c").write_text(MINE)
    for given in ((), (tmp_path / "mine.c",)):
        done = newcomer(*given)
        assert (done.returncode, done.stdout) == (0, f"{cases} of {cases} cases pass\n"), done.stderr


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("(x[at + k * inner] - top)", "(x[at + k * inner])"), (" - mean)", ")"), ("dx[at + k * inner] =", "y[at] =")],
    ids=["no shift", "no mean", "no gradient"],
)
def test_a_newcomer_is_told_what_is_wrong(right: str, wrong: str, newcomer: Any, tmp_path: Path) -> None:
    assert right in MINE
    (tmp_path / "mine.c").write_text(MINE.replace(right, wrong))
    done = newcomer(tmp_path / "mine.c")
    assert done.returncode == 2
    assert re.search(r"^softmax/float32/\S+: \d+ of y and \d+ of d/x fail$", done.stdout, re.MULTILINE)


def test_a_newcomer_hears_of_what_is_missing(newcomer: Any, tmp_path: Path) -> None:
    done = newcomer(tmp_path / "nothing.c")
    assert (done.returncode, done.stdout) == (1, "") and "cannot read" in done.stderr
    (tmp_path / "mine.c").write_text("static void softmax(void) {}")
    done = newcomer(tmp_path / "mine.c")
    assert (done.returncode, done.stdout) == (1, "") and "softmax" in done.stderr
    path = tmp_path / "conformance" / "ops" / "softmax" / "normal.json"
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join(rows[:1] + rows[2:]))
    done = newcomer()
    assert done.returncode == 1 and "cases are there" in done.stdout
    for family in (tmp_path / "conformance" / "ops" / "softmax").iterdir():
        family.unlink()
    assert newcomer().returncode == 3
