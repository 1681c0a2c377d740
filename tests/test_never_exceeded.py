"""The allowance is never exceeded: every op, model, order and grouping, on hostile data, and PyTorch's own orders.

The implementation is the definition itself in another arithmetic (tests/orders.py), judged by refnn.check's oracle. A
result that two orders share to the bit is judged once and counted for both.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import judges
import numpy as np
import pytest
from marks import in_every
from orders import GROUPINGS, ORDERS, Ordered

from refnn.arithmetic import balls
from refnn.checking.check import check
from refnn.conformance import data
from refnn.formats import Format
from refnn.judging.case import Case
from refnn.judging.cases import cases
from refnn.judging.families import FAMILIES
from refnn.judging.judge import Judge
from refnn.judging.verdict import NAMES
from refnn.models import MODELS, Model, default_model, model
from refnn.op import Op
from refnn.ops import OPS
from refnn.oracle.evaluate import run
from refnn.report import Finding, Report
from refnn.study.hostile import long_axes, swamped
from refnn.variants import alone, large, short_rows

SIXTEEN = ("float16", "bfloat16", "float16-saved", "bfloat16-saved", "float16-each-op", "bfloat16-each-op", "dpbf16")
TESTED = ("float32", "float64", *SIXTEEN, "tf32", *(f"{n}-ftz" for n in ("float32", "float64", *SIXTEEN, "tf32")))
ALLOWED = {"exact", "ok", "suspect", "convention", "out_of_scope"}
ENOUGH = 10_000
MANY = 1_000_000
SUMS = 1021  # terms of the sums in inputs built against an order


# --- inputs built against an order -----------------------------------------------------------------------------------


def cancelling(rules: Model, n: int, rng: np.random.Generator) -> np.ndarray:
    """A large value, small ones, and the large one's negative."""
    x = rng.normal(size=n)
    x[0] = 2.0 ** (rules.accumulate.precision // 2)
    x[-1] = -x[0]
    return x


def wide(rules: Model, n: int, rng: np.random.Generator) -> np.ndarray:
    """Pairs that cancel, over a third of the exponents: most of a sum's digits depend on its order."""
    x = rng.uniform(1, 2, n) * 2.0 ** rng.integers(-(rules.storage.emax // 3), rules.storage.emax // 3, n)
    x[1::2] = -x[: 2 * (n // 2) : 2] * (1 + rules.storage.unit_roundoff * rng.integers(-3, 4, n // 2))
    return x


def built(op: Op, rules: Model, n: int = SUMS) -> Iterator[Case]:
    """Cases whose sums are long and hostile to some order, for every op that sums."""
    rng = np.random.default_rng(5)
    draws = {"cancelling": cancelling, "wide": wide}
    for recipe in swamped(op):
        given: dict[str, dict[str, Any]] = {"swamped": {}}
        for kind, draw in draws.items():
            given[kind] = {"x": draw(rules, n, rng), "g": draw(rules, n, rng)}
            given[f"swamped-{kind}"] = {"g": draw(rules, n, rng)}
        for name, along in given.items():
            unit = rules.accumulate.unit_roundoff
            yield recipe.case(f"{op.name}/built/{recipe}/{name}", n, rules.storage, unit, **along)


# --- judging ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Tally:
    """Elements by (order or grouping) and verdict, and the first that the allowance does not cover."""

    counts: collections.Counter[tuple[str, str]] = dataclasses.field(default_factory=collections.Counter)
    outside: list[str] = dataclasses.field(default_factory=list)

    def judged(self, key: str) -> int:
        """Elements about which something was claimed."""
        return sum(n for (k, v), n in self.counts.items() if k == key and v not in ("out_of_scope", ""))


def evaluate(case: Case, rules: Model, order: str, grouping: str) -> list[np.ndarray | None]:
    """[output, *gradients] as float64, in one order and grouping."""
    ar = Ordered(rules, order, grouping)
    with np.errstate(all="ignore"):
        results = run(ar, case.call())
    return [None if r is None else r.a.astype(np.float64) for r in results]


EVERY = tuple(itertools.product(ORDERS, GROUPINGS))


def rotated(number: int) -> tuple[tuple[str, str], ...]:
    """Every order, each with one grouping: another one for the next case."""
    return tuple((order, GROUPINGS[(i + number) % len(GROUPINGS)]) for i, order in enumerate(ORDERS))


def try_orders(
    case: Case, rules: Model, tally: Tally, pairs: tuple[tuple[str, str], ...] = EVERY, judge: Judge | None = None
) -> None:
    """Judge a case in these orders and groupings."""
    judge = judge or judges.judge(dataclasses.replace(case, random=False), rules, "accurate", math.inf)
    seen: dict[tuple[int, bytes], Mapping[str, int]] = {}
    for order, grouping in pairs:
        for which, got in enumerate(evaluate(case, rules, order, grouping)):
            if got is None:
                continue
            if (which, got.tobytes()) not in seen:
                j = judge.judge(which, got)
                verdict = np.asarray(np.array(NAMES)[j.code])
                verdicts, numbers = np.unique(verdict, return_counts=True)
                seen[which, got.tobytes()] = dict(zip(verdicts.tolist(), numbers.tolist(), strict=True))
                for i in np.argwhere(~np.isin(verdict, [*ALLOWED, ""]))[:3]:
                    at = tuple(i)
                    tally.outside.append(
                        f"{verdict[at]}: {case.id} result {which}{list(map(int, at))} {order}/{grouping}: "
                        f"got {got[at]!r}, truth {j.expected[at]!r}, error {j.error[at]!r}, allowed {j.allowed[at]!r}"
                    )
            for name, number in seen[which, got.tobytes()].items():
                tally.counts[order, name] += number
                tally.counts[grouping, name] += number


def report(what: str, tally: Tally) -> None:
    least = min(tally.judged(k) for k in ORDERS)
    total = collections.Counter[str]()
    for (key, verdict), number in tally.counts.items():
        if key in ORDERS:
            total[verdict or "free"] += number
    print(f"{what}: {least} elements in each of {len(ORDERS)} orders, {dict(sorted(total.items()))}")


def all_cases(op: Op, rules: Model, seed: int = 0) -> Iterator[Case]:
    found = [c for c in cases(alone(op), rules.storage.name, seed=seed) if c.row is None]
    assert {c.family for c in found} >= set(FAMILIES)
    yield from found
    yield from built(op, rules)
    # A 16-bit sum of a thousand exponentials may lose all digits, and its reciprocal is unbounded then.
    if rules.accumulate.precision < 24 and long_axes(op) and (short := short_rows(op, ENOUGH // 10)):
        yield from cases(alone(dataclasses.replace(op, variants=short)), rules.storage.name, seed=seed)


@pytest.mark.parametrize(("subject", "name"), in_every(TESTED, OPS))
def test_no_order_exceeds_the_allowance(subject: str, name: str) -> None:
    op, rules, tally = OPS[subject], model(name), Tally()
    numbered = enumerate(all_cases(op, rules))
    for family, group in itertools.groupby(numbered, key=lambda item: item[1].family):
        share = Tally()
        for number, case in group:
            pairs = EVERY if family == "built" else rotated(number)
            if all(share.judged(order) * len(FAMILIES) >= ENOUGH for order in ORDERS):
                pairs = pairs[number % len(pairs) :][:1]  # its share is done: the other variants in one order each
            try_orders(case, rules, share, pairs)
        tally.counts.update(share.counts)
        tally.outside.extend(share.outside)
    report(f"{op.name} {name}", tally)
    assert not tally.outside, "\n".join(tally.outside[:10])
    assert {v for _, v in tally.counts} <= ALLOWED | {""}
    for key in (*ORDERS, *GROUPINGS):
        assert tally.judged(key) >= ENOUGH, f"only {tally.judged(key)} elements were judged in order {key}"


@pytest.mark.slow
@pytest.mark.parametrize("name", TESTED)
@pytest.mark.parametrize("op", OPS.values(), ids=list(OPS))
def test_no_order_exceeds_the_allowance_in_a_million_elements(op: Op, name: str) -> None:
    rules, tally = model(name), Tally()
    for seed in itertools.count(1):
        for case in cases(large(op), rules.storage.name, seed=seed):
            try_orders(case, rules, tally)
        assert not tally.outside, "\n".join(tally.outside[:10])
        if all(tally.judged(key) >= MANY for key in (*ORDERS, *GROUPINGS)):
            break
    report(f"{op.name} {name}", tally)
    assert min(tally.judged(key) for key in (*ORDERS, *GROUPINGS)) >= MANY


# --- the test can fail -----------------------------------------------------------------------------------------------


def _half_roundoff(rules: Model) -> Model:
    """A model that claims one bit more than the implementation has."""
    finer = {f.name: Format(f.name, f.precision + 1, f.emin, f.emax) for f in (rules.compute, rules.accumulate)}
    return dataclasses.replace(rules, compute=finer[rules.compute.name], accumulate=finer[rules.accumulate.name])


def exceeded(op: Op, rules: Model, claimed: Model) -> int:
    """How many findings the built inputs give when `claimed` is declared and `rules` is computed in."""
    tally = Tally()
    for case in built(op, rules):
        judge = Judge(case, claimed, "accurate", math.inf)
        try_orders(case, rules, tally, (("sequential", "left"), ("reversed", "left")), judge)
    return len(tally.outside)


@pytest.mark.parametrize("op", ["linear", "half_squared_error", "mse_loss"])
def test_half_the_unit_roundoff_is_exceeded(op: str) -> None:
    rules = MODELS["float32"]
    assert exceeded(OPS[op], rules, _half_roundoff(rules)) > 0
    assert exceeded(OPS[op], rules, rules) == 0


@pytest.mark.parametrize("op", [n for n, op in OPS.items() if long_axes(op)])
def test_a_sum_without_its_length_is_exceeded(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rules, honest = MODELS["float32"], balls.growth
    assert exceeded(OPS[op], rules, rules) == 0
    monkeypatch.setattr(balls, "growth", lambda u, k: honest(u, k) / max(k, 1))
    assert exceeded(OPS[op], rules, rules) > 0


# --- PyTorch's own orders --------------------------------------------------------------------------------------------


def conforming(op: str, dtype: str, rules: str) -> tuple[collections.Counter[str], list[Finding]]:
    """Verdicts of PyTorch's function under a model, and what no class explains."""
    from refnn.witnesses.torch import FUNCTIONS

    found = check(op, FUNCTIONS[op], framework="torch", dtype=dtype, model=rules)
    verdicts: collections.Counter[str] = collections.Counter()
    for result in found.results:
        verdicts.update(result.verdicts)
    print(f"torch {op} {dtype}, model {rules}: {dict(sorted(verdicts.items()))}")
    return verdicts, [f for f in found.findings if f.verdict in ("violation", "special", "error")]


@functools.cache
def recorded() -> Report:
    """A report that knows the committed expected findings and nothing else."""
    from refnn.witnesses.torch import VERSION

    path = data("expected", f"torch-{VERSION}-cpu.json")
    return Report({}, expected=json.loads(path.read_text())["expected"])


@pytest.mark.usefixtures("shared_judges")
@pytest.mark.parametrize(("op", "dtype"), in_every(["float32", "float64", "float16", "bfloat16"], OPS))
def test_torch_is_inside_some_declared_class(op: str, dtype: str) -> None:
    """Under the model that a framework's functions are judged by, apart from what is recorded with its reason."""
    pytest.importorskip("torch")
    verdicts, bad = conforming(op, dtype, default_model(dtype, "torch"))
    if bad and all("not implemented for" in f.message for f in bad):
        pytest.skip(f"PyTorch has no {op} of {dtype}")
    unknown = [f for f in bad if recorded().reason(f) is None]
    assert not unknown, "\n".join(str(f) for f in unknown[:10])
    assert sum(verdicts[v] for v in ("exact", "ok", "convention", "suspect", "explained")) >= ENOUGH
