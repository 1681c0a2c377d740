"""A new op is its module and a line in either table of witnesses: `refnn renew` makes the rest, and its tests pass."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE = '''\
r"""The square, elementwise.

    y = x^2
    dy/dx = 2 x

Any shape; the output has the shape and dtype of x. Both are one rounding off, to first order.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import ELEMENTWISE, any_array, each_element


def forward(ar, x):
    return x**2


def vjp(ar, g, y, x):
    return (ar.product(2, g, x),)


parabola = Op(
    name="parabola",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=ELEMENTWISE,
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), inf, (inf,), "the square, and its slope"),
        Special((-inf,), inf, (-inf,), "likewise"),
        Special((0.0,), 0, (0,), "either sign of zero"),
        Special((-0.0,), 0, (0,), "likewise"),
        Special((1.0,), 1, (nan,), "NaN in the cotangent is handed on", cotangent=nan),
    ),
    rowwise=each_element,
)
'''
LINES = {"torch.py": '"parabola": torch.square,', "loops.py": '"parabola": lambda x: np.array(x * x, dtype=object),'}
NEEDED = ("fixtures", "support", "reports", "findings", "tightness")


def run(tree: Path, *command: str) -> str:
    """What a command of Python prints in a tree; it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.mark.slow
def test_an_op_is_its_module_and_a_line_in_either_table(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    tree = tmp_path / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "dist"))
    (tree / "refnn" / "ops" / "parabola.py").write_text(MODULE)
    for name, line in LINES.items():
        path = tree / "refnn" / "witnesses" / name
        found = re.subn(r'^( +)"nll_loss": .*\n', rf"\g<0>\1{line}\n", path.read_text(), flags=re.MULTILINE)
        assert found[1] == 1
        path.write_text(found[0])
    printed = run(tree, "refnn", "renew", *NEEDED, "--ops", "parabola")
    assert "added conformance/ops/parabola/normal.json" in printed and "changed conformance/tightness.md" in printed
    passed = run(tree, "pytest", "-q", "-m", "not exhaustive", "-k", "parabola or cover_every or committed")
    assert int(re.findall(r"(\d+) passed", passed)[0]) > 50
