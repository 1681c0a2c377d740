"""The op x arithmetic support matrix: `python -m refnn.study.support [PATH]` prints it, or writes it to PATH.

Nothing in it is declared: each definition is run in each arithmetic, and what an arithmetic refuses by name is written
down. Any other exception is a bug, and is not caught.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from refnn.arithmetic import Unsupported
from refnn.arithmetic.balls import Balls
from refnn.arithmetic.exact import Arb, Fractions
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.noise import Noise
from refnn.arithmetic.pairs import Pairs
from refnn.arithmetic.protocol import Arithmetic
from refnn.arithmetic.symbols import Symbols
from refnn.judging.case import Case
from refnn.judging.cases import cases, smaller
from refnn.op import lift
from refnn.ops import OPS
from refnn.report.templates import markdown

ARITHMETICS: Mapping[str, Callable[[], Arithmetic[Any]]] = MappingProxyType(
    {
        "Floats": Floats,
        "Balls": lambda: Balls("float64"),
        "Noise": lambda: Noise("float64"),
        "Pairs": Pairs,
        "Arb": Arb,
        "Fractions": Fractions,
        "Symbols": Symbols,
    }
)


def matrix() -> dict[str, dict[str, tuple[str, str]]]:
    """Op, or "op: class" -> arithmetic -> ("yes" or the refusal) for the forward and for the vjp."""
    rows: dict[str, dict[str, tuple[str, str]]] = {}
    for name, op in OPS.items():
        small = list(cases(smaller(op), "float64", families=["grid"]))  # few numbers, and short ones: SymPy knows them
        for algorithm in ("accurate", *op.algorithms):
            label = name if algorithm == "accurate" else f"{name}: {algorithm}"
            rows[label] = {a: _answers(small, algorithm, make) for a, make in ARITHMETICS.items()}
    return rows


def _answers(small: list[Case], algorithm: str, make: Callable[[], Arithmetic[Any]]) -> tuple[str, str]:
    """What an arithmetic answers to the forward and to the vjp, over all variants."""
    forwards, vjps = set(), set()
    for case in small:
        forward, vjp = case.op.algorithm(algorithm)
        ar = make()
        arrays, g = lift(ar, case.inputs), ar.array(case.cotangent)
        # The vjp is given an output that every arithmetic can hold: that of Floats, and 0 for the NaN of an empty mean.
        y = ar.array(np.nan_to_num(case.op(*case.inputs, **case.params)))
        with np.errstate(all="ignore"):
            forwards.add(_attempt(forward, ar, *arrays, **case.params))
            vjps.add(_attempt(vjp, ar, g, y, *arrays, **case.params))
    return _summary(forwards), _summary(vjps)


def _attempt(definition: Callable[..., Any], ar: Arithmetic[Any], *arrays: Any, **params: Any) -> str:
    try:
        definition(ar, *arrays, **params)
    except Unsupported as refusal:
        return f"no {refusal.primitive!r}"
    except ZeroDivisionError:
        pass  # the mean of no sample is no rational number, but nothing was missing
    return "yes"


def _summary(answers: set[str]) -> str:
    """One answer; where variants differ, all of them."""
    return " / ".join(sorted(answers, reverse=True))


def page(rows: Mapping[str, Mapping[str, tuple[str, str]]]) -> str:
    """The matrix as a page with one table, two lines for each definition."""
    body = [
        (label, half, *(answers[a][i] for a in ARITHMETICS))
        for label, answers in rows.items()
        for i, half in enumerate(("forward", "vjp"))
    ]
    return markdown(Path(__file__).with_name("support.md.jinja"), rows=body, arithmetics=[*ARITHMETICS])


def main(arguments: list[str]) -> int:
    """Print the page, or write it to the one path given; 1 with a sentence for anything else."""
    if len(arguments) > 1:
        print(f"python -m refnn.study.support takes at most one path, got {len(arguments)}", file=sys.stderr)
        return 1
    text = page(matrix())
    if not arguments:
        print(text, end="")
        return 0
    try:
        Path(arguments[0]).write_text(text, encoding="utf-8")
    except OSError as e:
        print(f"the support matrix cannot be written to {arguments[0]}: {e.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
