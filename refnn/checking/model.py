"""`refnn.check_model`: a PyTorch model, node by node, forward and backward, and where the error of its loss is from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refnn.checking.check import FALSE_ALARM, false_alarm_line
from refnn.conformance import expected
from refnn.ids import CaseId
from refnn.judging.case import Case
from refnn.judging.cases import slug
from refnn.judging.check_case import judged
from refnn.judging.independence import varied
from refnn.judging.judge import Judge
from refnn.models import Model, default_model
from refnn.models import model as find_model
from refnn.oracle.allowance import expected_error
from refnn.report import Report
from refnn.variants import Variant


@dataclass
class ModelReport(Report):
    """The report of a model. `first_deviation` names the node that left its allowance first, in the order of the run:
    the first with a wrong output, or else the first on the way back with a wrong gradient. It is None if there is none.
    `budget` has for each node its share of the variance that rounding gives the loss, to first order."""

    first_deviation: str | None = None
    budget: Mapping[str, float] = field(default_factory=dict)


def check_model(
    module: Any,
    inputs: Any,
    *,
    loss: Callable[..., Any] | None = None,
    compile: bool = False,
    autocast: str | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> ModelReport:
    """Check a PyTorch module on these tensors (a tuple), node by node, forward and backward.

        >>> module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
        >>> report = refnn.check_model(module, (torch.ones(2, 3),))
        >>> report.ok, report.first_deviation, list(report.budget)
        (True, None, ['0', '1'])

    The module runs eagerly, as it is. Each function that it calls is judged on the numbers that it was given: its
    output, and the gradients that it made of the cotangent that arrived. A torch.autograd.Function of one's own is
    judged by what its forward calls. A function that moves numbers (a view, a slice, a concatenation, a look-up, a mask
    that fills) runs on labels, too, and is judged by where it took each number from: the forward must be exact, and the
    gradient the adjoint. A cast must round as NumPy does. The mask of a dropout is the one that it drew. What the
    report on this version of PyTorch expects of its functions is expected here. With `compile`, the compiled module is
    judged as a whole, by its output and its gradients for a cotangent that is drawn. `loss` is a function of what the
    module returns, and gives a number; by default it is half the sum of squares of all outputs. Where the cotangent
    that arrives at a node is zero, as that loss's is where an output is zero, nothing is learned of the gradient there.

    The budget is of first order: the error that rounding is expected to give to each element of a node's output, times
    the cotangent that arrived there, squared and summed. The shares add up to one; there are none if nothing is rounded
    or the variance is not finite.

    What has no op is in `report.unsupported`, with its line in the source. TypeError and ValueError say what is wrong
    with the call, RuntimeError that the module does not give the same numbers twice.
    """
    from refnn.implementations.torch_run import observe  # here, because it loads PyTorch
    from refnn.implementations.torch_whole import placed

    if autocast is not None:
        raise ValueError(f"check_model: autocast is {autocast!r}, and a mixture of dtypes is not judged yet")
    module, given = placed(module, inputs, device)
    seen = observe(module, given, loss, seed=seed)
    if not seen.ran:
        lacking = "; ".join(f"{why}, at {place}" for place, why in seen.others.items()) or "it calls none"
        raise ValueError(f"check_model: {type(module).__name__} calls no function that is an op: {lacking}")
    formats = dict.fromkeys(r.output.dtype.name for r in seen.ran)
    models, name = {d: find_model(default_model(d, "torch")) for d in formats}, type(module).__name__
    rules = next(iter(models.values()))
    elements = sum(r.output.size + sum(v[1].size for v in r.inputs if v) for r in seen.ran)
    line = false_alarm_line(FALSE_ALARM, elements)
    report = ModelReport(
        {
            "subject": name,
            "dtype": ", ".join(formats),
            "implementation": "module, compiled" if compile else "module",
            "model": ", ".join(m.name for m in models.values()),
            "models": [m.describe() for m in models.values()],
            "algorithm": "accurate",
            "seed": seed,
            "false_alarm": FALSE_ALARM,
            "deviations": line,
            "notes": [],
        }
    )
    for place, why in seen.others.items():
        report.skips[f"{name}/{next(iter(formats))}/model/{place}"] = f"{why}, at {place}"
        report.undeclared.add(f"{name}/{next(iter(formats))}/model/{place}")  # if most is so, the report is not ok
    if compile:
        _whole(report, module, given, loss, rules, seed)
    else:
        _stepwise(report, name, seen.ran, models, line)
    report.budget = _budget(seen.ran, models)
    return report


def _case(name: str, ran: Any, cotangent: np.ndarray | None, seed: int = 0) -> Case:
    arrays = tuple(None if v is None else v[1] for v in ran.inputs)
    g = np.zeros_like(ran.output) if cotangent is None else cotangent
    id = str(CaseId(name, g.dtype.name, "model", ran.name.replace("/", "|"), "given", seed))
    numbers = [x for x in (*arrays, g) if x is not None and x.dtype.kind not in "biu"]
    return Case(id, ran.op, arrays, {**ran.op.defaults, **ran.params}, g, "model", random=varied(*numbers))


def _stepwise(report: ModelReport, name: str, calls: Sequence[Any], models: Mapping[str, Model], line: float) -> None:
    """Each call on its own, in the order of the run."""
    from refnn.implementations.torch import ARRAYS

    outputs, others = [], []
    pytorch = Report({}, expected=expected("torch", ARRAYS.version))
    for ran in calls:
        case = _case(name, ran, ran.cotangent, report.header["seed"])
        grads = [g if d.differentiable else None for g, d in zip(ran.grads, ran.op.inputs.values(), strict=True)]
        got = [None if ran.back else ran.output, *(grads if ran.cotangent is not None else [None] * len(grads))]
        results = ["output", *(f"grad[{n}]" for n in ran.op.inputs)]
        values = [ran.name, *(f"grad[{v[0] if v else None}] of {ran.name}" for v in ran.inputs)]
        replay = f"print(refnn.check_model(module, inputs, seed={report.header['seed']}))"
        found, findings, _ = judged(case, got, results, models[ran.output.dtype.name], "accurate", line, replay)
        called = dict(zip(results, values, strict=True))
        report.results += [_renamed(r, f"{name}: {ran.op.name}", called) for r in found]
        wrong = set()
        for f in findings:
            named = _renamed(f, f"{name}: {ran.op.name}", called)
            if (why := pytorch.reason(replace(f, case=_published(ran)))) is not None:
                report.expected[named.key] = why
            elif f.verdict not in report.accept:
                wrong.add(f.what)
            report.findings.append(named)
        if "output" in wrong:
            outputs.append(ran.name)
        elif wrong:
            others.append(ran.name)
    report.first_deviation = next(iter((*outputs, *reversed(others))), None)


def _published(ran: Any) -> str:
    """The id that the case of a call would have in the report on PyTorch."""
    shapes = {n: None if v is None else v[1].shape for n, v in zip(ran.op.inputs, ran.inputs, strict=True)}
    variant = Variant(shapes, {**ran.op.defaults, **ran.params})
    return str(CaseId(ran.op.name, ran.output.dtype.name, "model", slug(variant), "given", 0))


def _whole(
    report: ModelReport, module: Any, given: Sequence[Any], loss: Callable[..., Any] | None, rules: Model, seed: int
) -> None:
    """The compiled module, end to end: its output and its gradients against the network of the eager run."""
    from refnn.implementations.torch_network import network_of
    from refnn.implementations.torch_run import names_of, observe
    from refnn.implementations.torch_whole import compiled, end_to_end

    if loss is not None:
        raise ValueError("check_model: a compiled module is judged with loss=None, for a cotangent that is drawn")
    net = network_of(observe(module, given, seed=seed), names_of(module, given), report.header["subject"])
    judge_whole(report, end_to_end(net, compiled(module), given, module, seed), rules, "compiled", seed)
    report.first_deviation = next((f.what for f in report.findings if f.verdict not in report.accept), None)


def judge_whole(report: Report, whole: Any, rules: Model, label: str, seed: int) -> Judge:
    """Judge what a function of tensors gave end to end (see `torch_whole.end_to_end`). Returns the judge."""
    op, arrays, g, output, grads = whole
    id = str(CaseId(op.name, rules.storage.name, "model", label, "random", seed))
    case = Case(id, op, arrays, {}, g, "model", random=varied(*arrays, g))
    results = ["output", *(f"grad[{n}]" for n in op.inputs)]
    made, findings, judge = judged(case, [output, *grads], results, rules, "accurate", report.header["deviations"], "")
    report.results += made
    report.findings += findings
    return judge


def _renamed(found: Any, op: str, names: Mapping[str, str]) -> Any:
    return replace(found, op=op, what=names[found.what])


def _budget(calls: Sequence[Any], models: Mapping[str, Model]) -> dict[str, float]:
    """The shares of the nodes in the variance of the loss."""
    found = {}
    for ran in calls:
        if ran.cotangent is None or ran.back:
            continue
        rules = models[ran.output.dtype.name]
        error = expected_error(replace(_case("budget", ran, None).call(), cotangent=None), rules)[0]
        assert error is not None
        deviation, _ = error
        with np.errstate(all="ignore"):
            found[ran.name] = float(np.sum(np.square(ran.cotangent.astype(np.float64) * deviation)))
    total = sum(found.values())
    return {n: v / total for n, v in found.items()} if total and np.isfinite(total) else {}
