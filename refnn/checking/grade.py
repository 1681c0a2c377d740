"""`refnn.grade`: is a replacement of a PyTorch model right? The model is the definition, and its network the oracle."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from refnn.checking.apart import Stopped, run_apart
from refnn.checking.check import FALSE_ALARM, false_alarm_line
from refnn.checking.model import judge_whole
from refnn.judging.call import Misbehaviour
from refnn.judging.judge import Judge
from refnn.models import default_model
from refnn.models import model as find_model
from refnn.report import Finding, Report, Result

INCONCLUSIVE = "inconclusive"
SCALES = (1.0, 16.0, 1 / 16)  # further inputs, beside the problem's: drawn anew, larger and smaller


@dataclass(frozen=True)
class Grade:
    """What a replacement is worth. `verdict` is one of those of a check, or "inconclusive": nothing contradicts it, and
    the bounds are too wide to say more. `explanation` says why, in a paragraph."""

    verdict: str
    explanation: str
    report: Report

    @property
    def ok(self) -> bool:
        """Something was judged, all of it conforms, and the bounds mean something."""
        return self.verdict != INCONCLUSIVE and self.report.ok

    def to_json(self) -> str:
        """The grade as JSON: `verdict`, `ok`, `explanation`, `dtype`, `seed`, `model`, `cases`, `elements`,
        `worst_ratio` and `findings`, each with `case`, `what`, `verdict`, `got`, `expected`, `allowed`, `message`."""
        r = self.report
        return json.dumps(
            {
                "verdict": self.verdict,
                "ok": self.ok,
                "explanation": self.explanation,
                "dtype": r.header["dtype"],
                "seed": r.header["seed"],
                "model": r.header["model"],
                "cases": r.cases,
                "elements": r.elements,
                "worst_ratio": number(r.worst_ratio),
                "findings": [_shown(f) for f in r.findings],
            }
        )

    def __str__(self) -> str:
        return f"{self.verdict}: {self.explanation}"


def number(x: float) -> float | str:
    """A number as JSON has it: text, where it is not finite."""
    return x if math.isfinite(x) else str(x)


def _shown(f: Finding) -> dict[str, Any]:
    numbers = {k: number(getattr(f, k)) for k in ("got", "expected", "allowed")}
    return {"case": f.case, "what": f.what, "verdict": f.verdict, **numbers, "message": f.message}


def grade(
    problem: Any, solution: Any, *, dtype: str = "float32", seed: int = 0, time_limit: float | None = None
) -> Grade:
    """Grade a replacement of a PyTorch model, in KernelBench's form.

    `problem` has `Model`, `get_inputs` and perhaps `get_init_inputs`, `solution` has `ModelNew`. Both are modules, or
    paths of Python files. The model runs once, in the dtype, to see what it calls. That network, exactly evaluated, is
    the definition. The replacement is judged at its output and, for a cotangent that is drawn, at the gradients of all
    inputs and of the parameters that have the same names: on the problem's inputs, and on others of the same shapes,
    which are drawn anew. So a result that was kept, one that does not depend on an input, one that was computed in a
    shorter format, and a gradient that was forgotten are seen. Inputs that were overwritten, another shape or dtype,
    and exceptions are errors.

    A result is ok within the worst case of any evaluation order under the arithmetic model of the dtype, unless it is
    farther off than independent roundings ever are. Where the worst case on the problem's own inputs has no bound, or
    is as wide as the values, the verdict is "inconclusive". Not covered: time, streams.

    With a `time_limit` in seconds, for each run of the replacement, both must be paths. They run in a process of their
    own: a replacement that hangs is stopped, and one that crashes is an error of its own. Without it they run in this
    process.

    TypeError and ValueError say what is wrong with the problem, such as a function that has no op.
    """
    if time_limit is None:
        return _graded(lambda doing, news=None: None, problem, solution, dtype, seed)
    if not time_limit > 0:
        raise ValueError(f"grade: time_limit is {time_limit!r}, expected a number of seconds above 0")
    if odd := [x for x in (problem, solution) if not isinstance(x, (str, Path))]:
        raise TypeError(f"grade: with a time_limit it takes paths, got a {type(odd[0]).__name__}")
    found = [_report(dtype, seed)]
    try:
        graded: Grade = run_apart(_graded, (str(problem), str(solution), dtype, seed), time_limit, found.append)
        return graded
    except Stopped as e:
        report = found[-1]
        _add_error(report, dtype, "the run", str(e))
        return Grade("error", f"{e} ({report.cases - 1} sets of inputs were judged before)", report)


def _report(dtype: str, seed: int) -> Report:
    rules = find_model(default_model(dtype, "torch"))
    return Report(
        {
            "subject": "problem",
            "dtype": dtype,
            "implementation": "solution",
            "model": rules.name,
            "models": [rules.describe()],
            "algorithm": "accurate",
            "seed": seed,
            "false_alarm": FALSE_ALARM,
            "notes": [],
        }
    )


def _add_error(report: Report, dtype: str, label: str, why: str) -> None:
    place = (f"problem/{dtype}/model/{label}", "problem", dtype, "model", "output")
    report.results.append(Result(*place, verdicts={"error": 1}))
    report.findings.append(Finding(*place, verdict="error", message=why))


def _graded(tell: Callable[..., None], problem: Any, solution: Any, dtype: str, seed: int) -> Grade:
    """The grade. `tell` is told what of the replacement runs, and the report as far as it has come."""
    from refnn.implementations import torch_problem  # here, because it loads PyTorch
    from refnn.implementations.torch_network import network_of
    from refnn.implementations.torch_run import names_of, observe
    from refnn.implementations.torch_whole import end_to_end

    report, rules = _report(dtype, seed), find_model(default_model(dtype, "torch"))
    model, given, init = torch_problem.defined(problem, dtype, seed, SCALES)
    tell("making the replacement")
    new = torch_problem.replacement(solution)
    try:
        candidate, failed = torch_problem.made(new, init, dtype, seed, like=model), None
    except Exception as e:
        candidate, failed = None, Misbehaviour(f"making it raised {type(e).__name__}: {e}")
    tell("")
    seen = observe(model, given[0], seed=seed, backward=False)
    net = network_of(seen, names_of(model, given[0]), "problem")
    # Of each set the output, which is one of those that were seen, and the gradients of inputs and parameters.
    arrays = (*net.weights["module"].values(), *(r.output for r in seen.ran))
    elements = len(given) * (sum(x.size for x in arrays) + sum(x.numel() for x in given[0]))
    report.header["deviations"] = false_alarm_line(FALSE_ALARM, elements)
    vague = []
    for label, inputs in zip(("given", *(f"drawn, times {s:g}" for s in SCALES)), given, strict=True):
        tell(f"the replacement, on the inputs {label},", report)
        try:
            if failed is not None:
                raise failed
            found = end_to_end(net, candidate, inputs, candidate, seed)
            tell("")
            judge = judge_whole(report, found, rules, label, seed)
            vague += [label] if _vague(judge) else []
        except Misbehaviour as e:
            tell("")
            _add_error(report, dtype, label, str(e))
    return Grade(*_said(report, vague), report)


def _vague(judge: Judge) -> bool:
    """Whether a worst case says nothing: it is unbounded, or as wide as the values."""
    for result in judge.worst.results:
        if result is None:
            continue
        middle, allowed = (np.asarray(part) for part in result)
        some = middle != 0
        with np.errstate(all="ignore"):
            if some.any() and not np.median((allowed / np.abs(middle))[some]) < 1:
                return True
    return False


def _said(report: Report, vague: Sequence[str]) -> tuple[str, str]:
    """The verdict, and why; `vague` are the sets of inputs of which the worst case says nothing."""
    if report.unexpected:
        worst = max(report.unexpected, key=lambda f: (f.verdict == "error", f.ratio if math.isfinite(f.ratio) else 0.0))
        wrong = sorted({f.what for f in report.unexpected})
        if worst.verdict == "error":
            return "error", f"{worst.message} (on the inputs {worst.case.rpartition('/model/')[2]})"
        rules = report.header["model"]
        far = f"{worst.ratio:.3g} times what any evaluation order of the definition allows in {rules}"
        if worst.verdict == "suspect":
            far = f"farther off than roundings that are independent ever are in {rules}"
        elif not math.isfinite(worst.ratio):
            far = f"what every evaluation order of the definition gives in {rules}"
        return report.verdict, (
            f"{', '.join(wrong)} deviate: {worst.what}{list(worst.index)} is {worst.got!r}, the exact value is "
            f"{worst.expected!r}, which is {far}. The inputs are those of {worst.case}."
        )
    if report.count("out_of_scope") or "given" in vague:
        return INCONCLUSIVE, (
            "nothing contradicts the replacement, but the worst case of the definition is as wide as its values, or "
            "has no bound: the problem is too badly conditioned at this size and dtype; try float64 or a smaller one"
        )
    less = "".join(
        f"; on the inputs {label} the worst case is as wide as the values, and says little" for label in vague
    )
    return report.verdict, (
        f"all {report.elements:,} elements in {report.cases} sets of inputs are within what an evaluation order of the "
        f"definition may give in {report.header['model']}; the largest error is {report.worst_ratio:.3g} of it{less}"
    )
