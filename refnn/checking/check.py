"""Check: an implementation of an op or of a network against the oracle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from refnn.formats import format_of
from refnn.implementations import adapter_for
from refnn.implementations.framework import Framework
from refnn.judging.call import Forward, Misbehaviour, Skipped, Vjp
from refnn.judging.case import Case
from refnn.judging.cases import cases, user_cases
from refnn.judging.check_case import check_case, check_tangents
from refnn.judging.families import NAMES
from refnn.judging.groups import Where, check_where, groups, named, ordinary, unmet
from refnn.judging.judge import Judge
from refnn.judging.network_cases import network_cases
from refnn.judging.tangents import Jvp
from refnn.models import Model
from refnn.models import model as find_model
from refnn.networks.network import Network, fixtures
from refnn.op import Op
from refnn.ops import OPS, find
from refnn.refusals import several
from refnn.report import Finding, Report, Result, accepting
from refnn.report.profiles import SPECIAL, Profile
from refnn.report.profiles import profile as find_profile
from refnn.report.words import counted

FALSE_ALARM = 1e-7
SEEDS = 16  # of a thorough check


def false_alarm_line(probability: float, elements: int) -> float:
    """The number of standard deviations that the error of any of `elements` elements exceeds with at most this
    probability.

    It is a union bound over two normal tails; sums of bounded roundings have lighter tails.
    """
    if not isinstance(probability, (int, float)) or not 0 < probability < 1:
        raise ValueError(f"false_alarm is {probability!r}, expected a probability between 0 and 1")
    from statistics import NormalDist  # here, because it takes longer to import than all of refnn

    return -NormalDist().inv_cdf(probability / (2 * max(elements, 1)))


def check(
    subject: str | Op | Network,
    implementation: Any = None,
    *,
    forward: Forward | None = None,
    vjp: Vjp | None = None,
    jvp: Jvp | None = None,
    order: int = 1,
    framework: str | None = None,
    dtype: str | None = None,
    inputs: Any = None,
    algorithm: str = "accurate",
    where: Where | None = None,
    supports: Where | None = None,
    families: str | Iterable[str] | None = None,
    profile: str = "framework",
    seed: int = 0,
    thorough: bool = False,
    model: str | Model | None = None,
    false_alarm: float = FALSE_ALARM,
    accept: str | Iterable[str] = (),
    expected_failures: Mapping[str, str] | None = None,
) -> Report:
    """Check an implementation of an op, or of a network, against the oracle.

        >>> case = {"inputs": (np.array([-1.0, 0.0, 2.0]),), "cotangent": np.ones(3)}
        >>> print(refnn.check("relu", forward=lambda x: np.maximum(x, 0), vjp=lambda g, x: (g,), inputs=case))
        refnn.check('relu', dtype='float64'): does not conform: 6 elements in 1 case (4 exact, 1 convention, ...
          violation: grad[x][0] of relu/float64/user/0/given/0
            got      1.0
            expected 0.0
        ...

    The implementation is a pair of functions of NumPy arrays, `forward(*inputs, **params)` and
    `vjp(g, *inputs, **params)`. Without a vjp the forward alone is checked. Or it is a function of a `framework`, whose
    autograd gives the gradients. Of a network, `forward(params, *inputs)` gives the output, and
    `vjp(g, params, *inputs)` a dict of gradients. Or `implementation` is a torch.nn.Module with the network's parameter
    names; its layers are then checked one by one, too. A network that comes with refnn may be given by its name.

    `jvp(inputs, tangents, **params)` is forward mode: it returns the output and its tangent, as `refnn.jvp` does, whose
    docstring says what its bounds hold for. The tangents are random, and None for inputs without a gradient. Of a
    framework, `order=2` checks its forward mode and the gradients of its gradients: those of sum(tangents * vjp) by the
    cotangent, which is the tangent of the output, and by each input, which is `refnn.hvp`. Special values are left out.

    By default the check runs every case of the op in `dtype`. If that is not given, it is what the model stores, or
    float32. `families` selects input families, and `where` selects as in `refnn.cases`. `profile` is "framework"
    (everything counts), "kernel" (special values stand apart and do not decide) or "teaching" (ordinary numbers, in
    words). Or `inputs` is one case or a list of cases. A case is a tuple of the arrays in the op's order, a mapping
    with `inputs`, `cotangent` and `params`, or what `refnn.case` returns.

    A parameter with its default value is passed only to a function whose signature names it. A case is not supported if
    it needs a parameter that the signature lacks, if the function raises NotImplementedError or calls `refnn.skip`, or
    if `supports` does not take it. `supports` is a selection like `where`. A predicate may return the reason instead of
    False. What is not supported is counted apart: `report.unsupported` has the groups of such cases. If most cases are
    not supported, and only exceptions said so, the report is not ok.

    A `thorough` check takes minutes, not seconds: it runs the cases of 16 seeds, from `seed` on, and larger ones.

    `model` says what the implementation computes in; the default is the model of the dtype, for a framework that of its
    kernels. `algorithm` is the algorithm that it is judged by. `accept` has the verdicts that conform besides exact, ok
    and convention; one of them may be given as a text. `expected_failures` gives the reason why the findings of a case
    are expected.

    The record of an op that is not in the catalogue is verified first (see `refnn.witnesses.record`).

    What the implementation does wrong is in the report, never in an exception. TypeError, ValueError and LookupError
    say what is wrong with the call itself. RuntimeError says that this thread flushes subnormal numbers.
    """
    if isinstance(subject, str) and subject not in OPS and subject in fixtures():
        subject = Network.load(subject)
    name = subject.name if isinstance(subject, (Network, Op)) else find(subject).name
    own = isinstance(subject, Op) and OPS.get(name) is not subject
    if framework is None and implementation is not None:
        raise TypeError(
            f"check({name!r}, {implementation!r}) names no framework: pass framework=, or forward= and vjp="
        )
    if framework is None and forward is None and vjp is None and jvp is None:
        raise TypeError(f"check({name!r}) was given nothing to check: pass forward= and vjp=, or framework=")
    if order not in (1, 2):
        raise ValueError(f"check({name!r}): order is {order!r}, expected 1 or 2")
    if order == 2 and (framework is None or isinstance(subject, Network)):
        raise TypeError(f"check({name!r}, order=2) differentiates a function twice: pass an op and framework=")
    if jvp is not None and (framework is not None or isinstance(subject, Network)):
        raise TypeError(f"check({name!r}, jvp={jvp!r}) is of functions of arrays, not of a framework or a network")
    adapter = None if framework is None else adapter_for(framework)
    if order == 2 and adapter is not None and adapter.second is None:
        raise TypeError(
            f"check({name!r}, order=2) differentiates a function twice, which the adapter of {framework} cannot"
        )
    accepted, seed = accepting(accept), _seed(seed)
    if expected_failures is not None and not isinstance(expected_failures, Mapping):
        raise TypeError(f"expected_failures is {expected_failures!r}, expected a mapping from case ids to reasons")
    if dtype is None and model is not None and inputs is None:
        dtype = find_model(model).storage.name
    dtype = None if dtype is None else format_of(dtype).name
    if isinstance(subject, Network):
        if where or families or supports or profile != "framework" or thorough:
            raise ValueError(
                f"check({name!r}) checks a network: where=, supports=, families=, profile= and thorough= are of cases "
                "of ops only"
            )
        given = inputs.cotangent.dtype.name if isinstance(inputs, Case) else "float32"
        chosen: Sequence[Case] = network_cases(subject, dtype or given, inputs, seed=seed)
    else:
        if own:
            from refnn.witnesses.record import verify

            verify(find(subject))
        check_where(find(subject), supports or {})
        families = _families(families, find_profile(profile), inputs)
        seeds = range(seed, seed + (SEEDS if thorough else 1))
        chosen = _chosen_cases(find(subject), dtype, inputs, where, families, seeds)
    if not chosen:
        raise LookupError(f"no case of {name} matches where={where or {}}, families={families}: nothing was checked")
    chosen[0].op.algorithm(algorithm)  # raises if it is not declared
    dtype = chosen[0].cotangent.dtype.name
    rules = _rules(model, dtype, adapter)
    elements = sum(c.elements for c in chosen)
    if isinstance(subject, Network):  # at most as many again for each of its layers, stepwise
        elements *= 1 + len(subject.nodes)
    elements *= 1 + (jvp is not None) + 2 * (order == 2)
    line = false_alarm_line(false_alarm, elements)
    judged = ("" if model is None else f", model={rules.name!r}") + (
        "" if algorithm == "accurate" else f", algorithm={algorithm!r}"
    )
    shown = (
        "forward=f, vjp=v" + ", jvp=j" * (jvp is not None)
        if adapter is None
        else f"{adapter.spelled(implementation)}, framework={framework!r}"
    )
    shown += ", order=2" * (order == 2)
    report = Report(
        {
            "subject": name,
            "dtype": dtype,
            "implementation": shown,
            "model": rules.name,
            "models": [rules.describe()],
            "algorithm": algorithm,
            "seed": seed,
            "false_alarm": false_alarm,
            "deviations": line,
            **({} if profile == "framework" else {"profile": profile}),
            "notes": [],
        },
        accept=accepted,
        expected=dict(expected_failures or {}),
    )
    if isinstance(subject, Network):
        _run_network(report, subject, chosen, rules, algorithm, line, adapter, implementation, forward, vjp)
        return report
    if adapter is not None:
        forward, vjp = adapter.functions(find(subject), implementation)
    double: Jvp | None = None
    if order == 2 and adapter is not None and adapter.second is not None:
        jvp, double = adapter.second(find(subject), implementation)
    if vjp is None:
        alone = "the forward and the jvp" if forward and jvp else "the jvp" if jvp else "the forward"
        report.header["notes"].append(f"no vjp was given: {alone} alone {'were' if forward and jvp else 'was'} checked")
    declines: Mapping[str, Skipped] = _declined(chosen, adapter, implementation, supports)
    skipped: dict[str, Skipped] = {}
    for case in chosen:
        if case.id in declines:
            skipped[case.id] = declines[case.id]
            continue
        spelled = f"{case.id!r}, op" if own else repr(case.id)
        given = "..." if case.family == "user" else f"refnn.case({spelled})"
        imports = "import refnn" if adapter is None else adapter.imports(implementation)
        replay = (
            f"{imports}; print(refnn.check({'op' if own else repr(name)}, {shown}, dtype={dtype!r}, "
            f"inputs={given}{judged}))"
        )
        results, findings, _, why = check_case(case, forward, vjp, rules, algorithm, line, replay)
        if jvp is not None and why is None:
            along, beside, why = check_tangents(case, jvp, double, rules, algorithm, line, replay)
            results, findings = results + along, findings + beside
        if why is not None:
            skipped[case.id] = why
        report.results.extend(results)
        report.findings.extend(findings)
    _tell_support(report, chosen, skipped)
    if thorough:
        spent = sum(r.seconds for r in report.results)
        report.header["notes"].append(f"thorough: {SEEDS} seeds, {counted(len(chosen), 'case')}, {spent:.0f} s")
    return report


def _families(given: str | Iterable[str] | None, chosen: Profile, inputs: Any) -> Iterable[str] | None:
    """The input families that a check runs; None for all."""
    if given is not None:
        return several(given)
    return None if inputs is not None or chosen.families is None else sorted(chosen.families)


def _declined(
    chosen: Sequence[Case], adapter: Framework | None, implementation: Any, supports: Where | None
) -> Mapping[str, Skipped]:
    """The cases that are known not to be supported before the call, each with the reason."""
    found = {}
    for case in chosen:
        why = None if supports is None else unmet(case, supports)
        if why is None and adapter is not None:
            why = adapter.lacks(implementation, case)
        if why is not None:
            found[case.id] = Skipped(why, declared=True)
    return found


def _tell_support(report: Report, chosen: Sequence[Case], skipped: Mapping[str, Skipped]) -> None:
    """Put into the report what is not supported, in groups, and into its header what it covered."""
    ran = {r.case for r in report.results}
    checked = [c for c in chosen if c.id not in skipped]
    unnamed = named([c for c in chosen if c.id in skipped and not str(skipped[c.id])], checked)
    for id, why in skipped.items():
        group = str(why) or unnamed[id]
        report.skips[id] = f"gradient: {group}" if id in ran else group
        if not why.declared:
            report.undeclared.add(id)
    usual = [c for c in chosen if ordinary(c)]
    report.header |= {
        "covered": _covered(checked),
        "supported": sorted({g for c in checked for g in groups(c)}),
        "unsupported": report.unsupported,
        "ordinary": [sum(c.id not in skipped for c in usual), len(usual)],
    }


def _covered(checked: Sequence[Case]) -> str:
    """What a check covered, in words."""
    if not checked:
        return "nothing"
    ran = sorted({c.family for c in checked})
    of_all = {n for n in NAMES if n not in ("kinks", "special")}  # which not every op has
    families = "all input families" if of_all <= set(ran) else f"input families {', '.join(ran)}"
    if not any(c.family in SPECIAL for c in checked):
        families += ", no special values"
    ranks = sorted({c.inputs[0].ndim for c in checked if c.inputs[0] is not None})
    rank = f"ranks {ranks[0]} to {ranks[-1]}" if len(ranks) > 1 else f"rank {ranks[0]}"
    largest = max(x.size for c in checked for x in (*c.inputs, c.cotangent) if x is not None)
    dtype = checked[0].cotangent.dtype.name
    return f"{counted(len(checked), 'case')} in {dtype}, {families}, {rank}, up to {counted(largest, 'element')}"


def _run_network(
    report: Report,
    net: Network,
    chosen: Sequence[Case],
    rules: Model,
    algorithm: str,
    line: float,
    adapter: Framework | None,
    module: Any,
    forward: Forward | None,
    vjp: Vjp | None,
) -> None:
    """Check a network end to end, and stepwise too if a framework shows what its layers computed from."""
    if adapter is None:
        report.header["notes"].append("end to end only: the values between the layers were not seen")
    elif adapter.trace is None:
        raise TypeError(f"check({net.name!r}, framework={adapter.name!r}) is of a network, expected an op")
    elif not callable(getattr(module, "named_modules", None)):
        raise TypeError(f"check({net.name!r}, {module!r}, framework='torch') expected a torch.nn.Module")
    for case in chosen:
        replay = (
            "import refnn, refnn.networks.train, refnn.networks.zoo, refnn.witnesses.torch as w; "
            f"net = {_loaded(net)}; "
            f"print(refnn.check(net, w.module(net), framework='torch', dtype={report.header['dtype']!r}))"
        )
        if adapter is None or case.family in ("user", "normal"):
            replay = f"print(refnn.check(net, ..., dtype={report.header['dtype']!r}, inputs=...))"
        if adapter is None or adapter.trace is None:
            f, v = of_dicts(net, forward, vjp)
        else:
            trace = adapter.trace(net, module, case)
            f, v = trace.forward, trace.vjp
            seen = {step.names["output"] for step in trace.steps}
            unseen = ", ".join(n.name for n in net.nodes if n.name not in seen)
            if seen and unseen and case is chosen[0]:
                report.header["notes"].append(f"end to end only, because no layer of their names was seen: {unseen}")
            for step in trace.steps:
                own = algorithm if algorithm in step.case.op.algorithms else "accurate"
                results, findings, _, why = check_case(step.case, step.forward, step.vjp, rules, own, line, replay)
                assert why is None  # a trace holds what was computed
                _file(report, f"{net.name} stepwise", step.names, results, findings)
        results, findings, judge, why = check_case(case, f, v, rules, algorithm, line, replay)
        _file(report, f"{net.name} end to end", {}, results, findings)
        if why is not None:
            report.skips[case.id] = str(why) or "not supported"
            report.undeclared.add(case.id)
        if judge is None:
            continue
        report.header["notes"].append(_width_note(case, judge))
        if near := judge.worst.open_branches:
            report.header["notes"].append(
                f"near kink: at {near} values of {case.id} rounding decides the side, both are ok"
            )


def _loaded(net: Network) -> str:
    """The Python expression for a fixture network, with the loss that it was trained with if it has one."""
    loaded = f"refnn.networks.zoo.fixture({net.name!r})"
    if "head" not in net.about or "target" not in net.inputs:
        return loaded
    return f"refnn.networks.train.with_loss({loaded}, {net.about['head']!r})"


def _file(report: Report, op: str, names: Mapping[str, str], results: list[Result], findings: list[Finding]) -> None:
    """Add the results and findings of a layer or of the whole, with the network's own names for its values."""
    report.results.extend(replace(r, op=op, what=names.get(r.what, r.what)) for r in results)
    report.findings.extend(replace(f, op=op, what=names.get(f.what, f.what)) for f in findings)


def of_dicts(net: Network, forward: Forward | None, vjp: Vjp | None) -> tuple[Forward | None, Vjp | None]:
    """f(params, *inputs) and v(g, params, *inputs), turned into functions of the network's arrays in order."""
    count = len(net.parameters)

    def whole(*arrays: np.ndarray) -> Any:
        assert forward is not None
        return forward(dict(zip(net.parameters, arrays[:count], strict=True)), *arrays[count:])

    def pulled(g: np.ndarray, *arrays: np.ndarray) -> Any:
        assert vjp is not None
        grads = vjp(g, dict(zip(net.parameters, arrays[:count], strict=True)), *arrays[count:])
        if not isinstance(grads, Mapping):
            raise Misbehaviour(
                f"the vjp returned a {type(grads).__name__}, expected a dict of gradients by parameter name"
            )
        if missing := [p for p in net.parameters if p not in grads]:
            raise Misbehaviour(
                f"the vjp returned no gradient for {missing[0]!r}, only for {', '.join(grads) or 'nothing'}"
            )
        return (*(grads[p] for p in net.parameters), *[None] * len(net.inputs))

    return None if forward is None else whole, None if vjp is None else pulled


def by_name(net: Network, forward: Forward, vjp: Vjp | None) -> tuple[Forward, Vjp | None]:
    """The reverse of `of_dicts`: functions of the network's arrays in order, turned into f(params, *inputs) and
    v(g, params, *inputs)."""

    def whole(params: Mapping[str, Any], *inputs: Any) -> Any:
        return forward(*(params[p] for p in net.parameters), *inputs)

    def pulled(g: np.ndarray, params: Mapping[str, Any], *inputs: Any) -> dict[str, Any]:
        assert vjp is not None
        grads = vjp(g, *(params[p] for p in net.parameters), *inputs)
        return dict(zip(net.parameters, grads, strict=False))  # those of the inputs are not asked for

    return whole, None if vjp is None else pulled


def _width_note(case: Case, judge: Judge) -> str:
    """A note on the worst case of a whole network: the median of its ratio to the values that are not zero."""
    shares = {}
    for what, result in zip(["output", *case.op.inputs], judge.worst.results, strict=True):
        if result is not None and result[0].any():
            middle, worst = (part[result[0] != 0] for part in result)
            with np.errstate(over="ignore"):
                shares[what] = float(np.median(worst / np.abs(middle)))
    what, share = max(shares.items(), key=lambda item: item[1], default=("output", 0.0))
    verdict = "" if share < 1 else ", too wide to say anything"
    return (
        f"worst case end to end of {case.id}: median radius {min(shares.values(), default=0.0):.2g} to {share:.2g} "
        f"of the values, widest for {what}{verdict}"
    )


def _seed(given: Any) -> int:
    """The seed as an integer. TypeError or ValueError says that it is none."""
    if not isinstance(given, (int, np.integer)) or isinstance(given, bool) or given < 0:
        raise ValueError(f"seed is {given!r}, expected an integer from 0 on")
    return int(given)


def _rules(given: str | Model | None, dtype: str, adapter: Framework | None) -> Model:
    rules = find_model(given or (dtype if adapter is None else adapter.model(dtype)))
    if rules.storage.name != dtype:
        raise ValueError(f"model {rules.name!r} stores {rules.storage.name}, but the check runs in {dtype}")
    return rules


def _chosen_cases(
    op: Op, dtype: str | None, inputs: Any, where: Where | None, families: Iterable[str] | None, seeds: range
) -> Sequence[Case]:
    if inputs is not None:
        check_where(op, where or {})
        return [c for c in _given_cases(op, dtype, inputs, seeds[0]) if unmet(c, where or {}) is None]
    found: list[Case] = []
    for seed in seeds:
        of = cases(op, dtype or "float32", seed=seed, families=families, where=where, thorough=len(seeds) > 1)
        found += (c for c in of if c.row is None or seed == seeds[0])  # the rows of a table are those of every seed
    return found


def _given_cases(op: Op, dtype: str | None, inputs: Any, seed: int) -> Sequence[Case]:
    if isinstance(inputs, Case):
        inputs = [inputs]
    if isinstance(inputs, list) and inputs and all(isinstance(i, Case) for i in inputs):
        if foreign := [c.id for c in inputs if c.op is not op]:
            raise ValueError(f"the case {foreign[0]!r} is not a case of {op.name}")
        if dtype and (other := [c.id for c in inputs if c.cotangent.dtype.name != dtype]):
            raise ValueError(f"the case {other[0]!r} is not of dtype {dtype}")
        return inputs
    return user_cases(op, dtype, inputs, seed=seed)


def assert_conforms(subject: str | Op | Network, implementation: Any = None, **options: Any) -> None:
    """Raise AssertionError with the text of the report, unless `check` with these arguments finds that all conforms.

    >>> refnn.assert_conforms("relu", forward=lambda x: np.maximum(x, 0), vjp=lambda g, x: (g * (x > 0),))
    >>> refnn.assert_conforms("relu", forward=lambda x: x, families=["grid"])
    Traceback (most recent call last):
    AssertionError: refnn.check('relu', dtype='float32'): does not conform: ...
    """
    report = check(subject, implementation, **options)
    if not report.ok:
        raise AssertionError(str(report))
