"""`refnn.compare_runs`: of two runs of one model, which is closer to the truth, and does rounding explain the rest?"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from refnn.checking.check import FALSE_ALARM, false_alarm_line
from refnn.checking.grade import number
from refnn.checking.model import judge_whole
from refnn.judging.call import Misbehaviour
from refnn.judging.case import same_bits
from refnn.models import default_model
from refnn.models import model as find_model
from refnn.oracle.truth import Value, truth
from refnn.report import Report

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Run:
    """The results of one run of a model: its output, and the gradients that it gave for a cotangent, by the names of
    the network's values. `given` has the numbers that it was given, the cotangent among them."""

    label: str
    results: Mapping[str, Array]
    given: Mapping[str, Array]

    def save(self, path: str | Path) -> None:
        """Write it as an .npz file, for a comparison with a run elsewhere."""
        parts = {f"result:{n}": a for n, a in self.results.items()} | {f"given:{n}": a for n, a in self.given.items()}
        with open(path, "wb") as f:
            np.savez(f, allow_pickle=False, **{n: _bits(a) for n, a in parts.items()})

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """A run that was saved. ValueError says that the file holds none."""
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as f:
                parts = {n: _numbers(f[n]) for n in f.files}
        except (OSError, ValueError, EOFError, BadZipFile) as e:
            raise ValueError(f"compare_runs: {path} holds no run: {e}") from None
        found = {k: {n[len(k) :]: a for n, a in parts.items() if n.startswith(k)} for k in ("result:", "given:")}
        if "output" not in found["result:"]:
            raise ValueError(f"compare_runs: {path} holds no run: it has no output")
        return cls(Path(path).name, found["result:"], found["given:"])


_BFLOAT16 = np.dtype([("bfloat16", np.uint16)])  # NumPy's files know no bfloat16


def _bits(a: Array) -> Array:
    return a.view(np.uint16).view(_BFLOAT16) if a.dtype.name == "bfloat16" else a


def _numbers(a: Array) -> Array:
    if a.dtype != _BFLOAT16:
        return a
    from ml_dtypes import bfloat16

    return a.view(np.uint16).view(bfloat16)


@dataclass(frozen=True)
class Closeness:
    """How far one result of two runs is from the truth: the root mean squares of both errors, and whether the runs gave
    the same bits."""

    what: str
    errors: tuple[float, float]
    same: bool


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two runs against the truth. `sentence` says which is closer, and whether rounding explains their difference."""

    labels: tuple[str, str]
    results: tuple[Closeness, ...]
    reports: tuple[Report, Report]

    @property
    def ok(self) -> bool:
        """Both runs conform, so that rounding explains their difference."""
        return all(r.ok for r in self.reports)

    @property
    def closer(self) -> str | None:
        """The run with the smaller errors in most of the results that differ; None if there is none."""
        ahead = [sum(r.errors[i] < r.errors[1 - i] for r in self.results) for i in (0, 1)]
        return None if ahead[0] == ahead[1] else self.labels[int(ahead[1] > ahead[0])]

    @property
    def sentence(self) -> str:
        first, second = self.labels
        differing = [r for r in self.results if not r.same]
        wrong = [label for label, report in zip(self.labels, self.reports, strict=True) if not report.ok]
        if not differing:
            alike = f"{first} and {second} gave the same bits"
            return f"{alike}, and they conform" if not wrong else f"{alike}, and they do not conform"
        nearer = "neither is closer to the truth"
        if self.closer is not None:
            i = self.labels.index(self.closer)
            count = sum(r.errors[i] < r.errors[1 - i] for r in differing)
            ratio = _ratio([(r.errors[i], r.errors[1 - i]) for r in differing])
            nearer = f"{self.closer} is closer to the truth in {count} of the {len(differing)} results that differ"
            nearer += f" (its errors are {ratio:.2g} of the other's)" if ratio is not None else ""
        if not wrong:
            return f"rounding explains the difference: both conform; {nearer}"
        if len(wrong) == 2:
            return f"rounding explains neither {first} nor {second}: both deviate; {nearer}"
        return f"rounding does not explain {wrong[0]}, which deviates: the other run conforms; {nearer}"

    def to_json(self) -> str:
        """`sentence`, `ok`, `closer`, and `results`, each with `what`, `same` and `errors` by run."""
        results = [
            {"what": r.what, "same": r.same, "errors": dict(zip(self.labels, map(number, r.errors), strict=True))}
            for r in self.results
        ]
        return json.dumps({"sentence": self.sentence, "ok": self.ok, "closer": self.closer, "results": results})

    def __str__(self) -> str:
        first, second = self.labels
        rows = [f"  {r.what}: {'the same bits' if r.same else _two(self.labels, r.errors)}" for r in self.results]
        bad = [
            f"{label}: {finding}"
            for label, report in zip(self.labels, self.reports, strict=True)
            for finding in report.unexpected[:2]
        ]
        return "\n".join([f"{first} and {second}: {self.sentence}", *rows, *bad])


def _two(labels: tuple[str, str], errors: tuple[float, float]) -> str:
    return ", ".join(f"{label} is off by {error:.3g}" for label, error in zip(labels, errors, strict=True))


def _ratio(pairs: list[tuple[float, float]]) -> float | None:
    """The geometric mean of the quotients of what is neither zero nor infinite; None if nothing is."""
    logs = [math.log(a / b) for a, b in pairs if 0 < a < math.inf and 0 < b < math.inf]
    return math.exp(sum(logs) / len(logs)) if logs else None


def run_model(module: Any, inputs: Any, source: Any = "eager", *, seed: int = 0) -> Run:
    """One run of a PyTorch module on these tensors (a tuple): `source` is "eager", "compiled" or a function of the
    inputs. The gradients are those for a cotangent that the seed draws.

    TypeError and ValueError say what has no op, or what is wrong with the call.
    """
    return _Subject(module, inputs, seed).run(source)[0]


def compare_runs(
    module: Any, inputs: Any, first: Any = "eager", second: Any = "compiled", *, seed: int = 0
) -> Comparison:
    """Compare two runs of a PyTorch module on these tensors (a tuple) with the truth.

        >>> module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh())
        >>> refnn.compare_runs(module, (torch.ones(2, 3),), "eager", module.forward).sentence
        'eager and forward gave the same bits, and they conform'

    A run is "eager", "compiled", a function of the inputs, or the path of one that `refnn.run_model(...).save(path)`
    wrote, on another machine or with another version: it must have been given the same numbers. The module, as it runs
    eagerly, defines the network whose exact values are the truth. A run conforms if it is within the worst case of any
    evaluation order, and no farther off than independent roundings ever are.

    TypeError and ValueError say what has no op, or what is wrong with the call.
    """
    subject = _Subject(module, inputs, seed)
    (one, whole), (other, another) = subject.run(first), subject.run(second)
    exact = truth(whole.op, *whole.arrays, cotangent=whole.cotangent)
    values = {"output": exact.output} | {f"grad[{n}]": v for n, v in zip(whole.op.inputs, exact.grads, strict=True)}
    results = [
        Closeness(n, (_off(a, v), _off(b, v)), a.tobytes() == b.tobytes())
        for n, a in one.results.items()
        if (b := other.results.get(n)) is not None and (v := values[n]) is not None
    ]
    return Comparison((one.label, other.label), tuple(results), (subject.judged(whole), subject.judged(another)))


class _Subject:
    """A module with its inputs, the network that defines it, and how its runs are judged."""

    def __init__(self, module: Any, inputs: Any, seed: int) -> None:
        from refnn.implementations.torch_network import network_of  # here, because it loads PyTorch
        from refnn.implementations.torch_run import names_of, observe
        from refnn.implementations.torch_whole import placed

        self.module, self.given = placed(module, inputs, "cpu")
        self.seed, self.name = seed, type(module).__name__
        seen = observe(self.module, self.given, seed=seed, backward=False)
        self.net = network_of(seen, names_of(self.module, self.given), self.name)
        elements = sum(r.output.size + sum(v[1].size for v in r.inputs if v) for r in seen.ran)
        self.line = false_alarm_line(FALSE_ALARM, elements)

    def run(self, source: Any) -> tuple[Run, Any]:
        """A run, and the same with the op and the arrays of the network."""
        from refnn.implementations.torch_whole import compiled, end_to_end

        saved = None if callable(source) or source in ("eager", "compiled") else Run.load(source)
        label = saved.label if saved else source if isinstance(source, str) else _label(source)
        function = source if callable(source) else compiled(self.module) if source == "compiled" else self.module
        try:
            whole = end_to_end(self.net, function, self.given, self.module, self.seed)
        except Misbehaviour as e:
            raise ValueError(f"compare_runs: of {label}: {e}") from e
        given = {**dict(zip(whole.op.inputs, whole.arrays, strict=True)), "cotangent": whole.cotangent}
        grads = {f"grad[{n}]": g for n, g in zip(whole.op.inputs, whole.grads, strict=True) if g is not None}
        if saved is None:
            return Run(label, {"output": whole.output, **grads}, given), whole
        for name, array in given.items():
            if name not in saved.given or not same_bits(saved.given[name], array):
                raise ValueError(f"compare_runs: {label} was given another {name}: it is no run of the same numbers")
        found = [saved.results.get(f"grad[{n}]") for n in whole.op.inputs]
        return saved, whole._replace(output=saved.results["output"], grads=found)

    def judged(self, whole: Any) -> Report:
        dtype = whole.output.dtype.name
        rules = find_model(default_model(dtype, "torch"))
        report = Report({"subject": self.name, "dtype": dtype, "model": rules.name, "deviations": self.line})
        judge_whole(report, whole, rules, "run", self.seed)
        return report


def _label(source: Any) -> str:
    return str(getattr(source, "__name__", type(source).__name__))


def _off(got: Array, exact: Value) -> float:
    """The root mean square of the errors; 0 of no element."""
    with np.errstate(all="ignore"):
        error = (got.astype(np.float64) - exact.value) - exact.low
        return float(np.sqrt(np.mean(np.square(error)))) if error.size else 0.0
