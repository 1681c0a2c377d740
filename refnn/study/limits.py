"""The published limits: `python -m refnn.study.limits [FOLDER]` writes them all to FOLDER (`conformance/limits`),
or prints the page.

FORMAT.json are the certified edges under each model of a format, FORMAT-cases.json the boundary cases, softmaxes.svg
the four softmaxes side by side, README.md the page. All but the plot's drawing is integers and Arb, so every machine
writes the same bytes. What PyTorch was measured to do is no part of it: the page reads `torch-VERSION-cpu.json`, which
`refnn limits --against torch --json` wrote.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from refnn.arithmetic.rounded import Rounded
from refnn.conformance import data
from refnn.formats import FORMATS
from refnn.limits.boundaries import document as cases_document
from refnn.limits.rules import RULES, TERMS, certain
from refnn.limits.search import EACH, Edge, bisect, describe, edge, edges, published_models, rounding_models, ulps
from refnn.limits.softmaxes import SOFTMAXES, limit_of
from refnn.oracle.truth import truth
from refnn.report.svg import svg
from refnn.report.templates import markdown

MEASURED = "torch-2.13.0-cpu.json"


def document(dtype: str) -> str:
    """The edges of a format under each of its models, as JSON, a line for each."""
    fmt = FORMATS[dtype]
    head = {"format": dtype, "precision": fmt.precision, "emin": fmt.emin, "emax": fmt.emax}
    models = [
        f'"{name}": [\n' + ",\n".join(json.dumps(describe(e)) for e in edges(name)) + "\n]"
        for name in published_models(dtype)
    ]
    return json.dumps(head)[:-1] + ', "models": {\n' + ",\n".join(models) + "\n}}\n"


# --- the four softmaxes ----------------------------------------------------------------------------------------------

PLOTTED = "float32"
COTANGENT = (1.0, 0.0, 0.0)


def errors(name: str, row: Sequence[float], dtype: str = PLOTTED) -> tuple[float, float]:
    """The largest absolute errors of the value and of the gradient (for a cotangent of one at the first entry) of one
    of the four softmaxes with every step correctly rounded; NaN where any entry is."""
    forward, vjp = SOFTMAXES[name]
    ar, limit = Rounded(EACH[dtype]), limit_of(FORMATS[dtype])
    x = np.array(row).astype(FORMATS[dtype].dtype)
    g = np.resize([*COTANGENT], x.shape).astype(x.dtype)
    true = truth("softmax", x, cotangent=g)
    with np.errstate(all="ignore"):
        y = forward(ar, ar.array(x), limit=limit)
        (gx,) = vjp(ar, ar.array(g), y, ar.array(x), limit=limit)
    exact = (true.output, true.grads[0])
    value, gradient = (
        float(np.max(np.abs(got.astype(np.float64) - t.value)))
        for got, t in zip((y, gx), exact, strict=True)
        if t is not None
    )
    return value, gradient


def row_at(top: float) -> tuple[float, ...]:
    """Logits whose softmax does not depend on `top`, as long as their differences are numbers of the format."""
    return top, top - 1, top - 10


def plot() -> str:
    """The errors of the four softmaxes over the logits, as SVG: near the limit, and up to the largest finite number."""
    fmt = FORMATS[PLOTTED]
    near = [84 + i / 16 for i in range(129)]
    far = [math.ldexp(1 + i / 4, e) for e in range(fmt.emax + 1) for i in range(4)] + [fmt.max]
    style = {"naive": "-", "scaled": "--", "shifted": "-", "online": ":"}
    lines = _certified_lines()

    def draw(plt: Any) -> Any:
        figure, axes = plt.subplots(2, 2, figsize=(10, 6), sharey=True)
        for column, (tops, kind) in enumerate(((near, "linear"), (far, "log"))):
            found = {name: [errors(name, row_at(t)) for t in tops] for name in SOFTMAXES}
            for panel, (axis, what) in enumerate(zip(axes[:, column], ("value", "gradient"), strict=True)):
                for i, name in enumerate(SOFTMAXES):
                    y = [e[panel] for e in found[name]]
                    # NaN above everything, and no error on the lowest line: a logarithm shows neither.
                    shown = [_NAN if math.isnan(v) else max(v, _EXACT) for v in y]
                    axis.plot(tops, shown, style[name], color=f"C{i}", label=name, linewidth=1.5 + (name == "shifted"))
                for x, label in lines:
                    axis.axvline(x, color="gray", linewidth=0.5)
                    if column == 0 and panel == 0:
                        axis.text(x + 0.05, 1e-7, label, rotation=90, fontsize=7)
                axis.set_xscale(kind)
                axis.set_yscale("log")
                axis.set_ylim(_EXACT / 2, _NAN * 4)
                axis.set_yticks([_EXACT, 1e-6, 1e-4, 1e-2, 1, _NAN], ["0", "1e-6", "1e-4", "1e-2", "1", "NaN"])
                axis.set_ylabel(f"error of the {what}")
                axis.set_xlabel("largest logit t of (t, t - 1, t - 10)")
        axes[0, 1].legend(loc="center right")
        return figure

    return svg(draw)


_EXACT, _NAN = 1e-9, 10.0


def theory() -> dict[str, float]:
    """The largest logit t at which each of the two lives on, for `row_at(t)` in the plotted format: the naive sum is
    below the overflow threshold, and so is its largest term."""
    fmt = FORMATS[PLOTTED]

    def below(t: float) -> bool:
        from flint import arb, fmpq

        row = [float(v) for v in np.array(row_at(t)).astype(fmt.dtype)]
        threshold = fmpq(fmt.overflow_threshold.numerator, fmt.overflow_threshold.denominator)
        return certain(lambda: arb(threshold) - sum((arb(v).exp() for v in row), arb(0)))

    return {"sum": bisect(fmt, below, 0.0, 1)[0], "exp": edge("exp-finite", PLOTTED).last}


def _certified_lines() -> list[tuple[float, str]]:
    ends = theory()
    return [(limit_of(FORMATS[PLOTTED]), "limit"), (ends["sum"], "sum infinite"), (ends["exp"], "exp infinite")]


# --- the page --------------------------------------------------------------------------------------------------------


def shown(x: float, dtype: str) -> str:
    """A number as its shortest decimal and as the bits say it."""
    mantissa, exponent = x.hex().split("p")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{FORMATS[dtype].shortest(x)} `{mantissa}p{exponent}`"


def _short(x: float) -> str:
    return "never" if math.isinf(x) else f"{x:.6g}"


def _by_format(rule: str) -> list[str]:
    """The first number at which a rule no longer holds, every step in the format itself."""
    return [_short(edge(rule, EACH[d]).next) for d in FORMATS]


BREAKS = (
    ("`exp(x)` is inf; `exp(x) / sum(exp(x))` is inf/inf = NaN", "x", "naive-number"),
    ("two equal logits: their sum is inf, both probabilities 0", "x", "naive-nonzero"),
    ("1,000 equal logits: likewise", "x", "sum-1000"),
    ("50,257 equal logits (GPT-2): likewise", "x", "sum-50257"),
    ("128,256 equal logits (Llama 3): likewise", "x", "sum-128256"),
    ("all logits very negative: 0/0 = NaN without the shift", "x (below)", "naive-below"),
    ("`-log(softmax(x))` is inf", "gap to the top", "log-of-softmax-finite"),
    ("its gradient is NaN, while the loss is still finite", "gap to the top", "log-of-softmax-grad-finite"),
    ("`-log(1 - sigmoid(x))` is inf, its gradient NaN", "x", "bce-of-sigmoid-finite"),
    ("`log(1 + exp(x))` is inf", "x", "log-1-exp-finite"),
)


def _limits(rules: Mapping[str, str], skip: Callable[[str], bool] = lambda name: False) -> list[list[str]]:
    return [
        [r.sentence, *(_both_sides(edge(r.name, name), d) for d, name in rules.items())]
        for r in RULES
        if not skip(r.name)
    ]


def _both_sides(e: Edge, dtype: str) -> str:
    after = "no more numbers" if math.isinf(e.next) else shown(e.next, dtype)
    return f"{shown(e.last, dtype)}, then {after}"


def _flushed() -> list[list[str]]:
    rules = {d: f"{EACH[d]}-ftz" for d in FORMATS}
    same = {r.name for r in RULES if all((edge(r.name, EACH[d]).last == edge(r.name, rules[d]).last) for d in FORMATS)}
    return _limits(rules, lambda name: name in same)


def _sums() -> list[list[str]]:
    rows = []
    for m in TERMS:
        found = {d: edge(f"sum-{m}", EACH[d]) for d in FORMATS}
        rows.append([f"{m:,}", *(f"{shown(e.last, d)}; {_grey(e, d)}" for d, e in found.items())])
    return rows


def _grey(e: Edge, dtype: str) -> str:
    if e.grey is None:
        return "no grey zone"
    first, last = map(FORMATS[dtype].shortest, e.grey)
    return f"grey at {first}" if first == last else f"grey from {first} to {last}"


WRONG = (
    ("naive", "naive-nonzero", "(x, x): all zeros, from"),
    ("naive", "naive-number", "(x, 0): NaN, from"),
    ("naive", "naive-below", "(x, x): NaN, from (downwards)"),
    ("scaled", "scaled-nonzero", "(x, x, x): all zeros, from"),
    ("shifted", "softmax-finite", "(x, -x): no number, from"),
    ("online", "online-finite", "(x, x, x): no number, from"),
)
SCALED = ((1000.0, 999.0, 990.0), (-1000.0, -1001.0), (2000.0, 1999.0, 1990.0), (100.0, 99.0, 90.0), (5000.0, 0.0, 0.0))


SCALED_IN = ("float64", "float32")


def _scaling() -> list[list[str]]:
    """Logits of SCALED, their softmax, and that of the scaled logits in each of SCALED_IN."""

    def probabilities(values: Iterable[Any]) -> str:
        return "(" + ", ".join(f"{float(v):.5g}" for v in values) + ")"

    rows = []
    for row in SCALED:
        cells = [probabilities(row), probabilities(truth("softmax", np.array(row)).output.value)]
        for dtype in SCALED_IN:
            ar = Rounded(dtype)
            with np.errstate(all="ignore"):
                y = SOFTMAXES["scaled"][0](ar, ar.array(np.array(row)), limit=limit_of(FORMATS[dtype]))
            cells.append(probabilities(y))
        rows.append(cells)
    return rows


def _apart(measured: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """For each model the limits that were measured, and those of them that are not the certified ones."""
    for rules, every in measured["limits"].items():
        found = {e["name"]: e["measured"] for e in every if e["measured"]}
        rows = [row for name, layouts in found.items() if (row := _difference(name, rules, layouts)) is not None]
        layouts = list(next(iter(found.values())))
        yield {"rules": rules, "layouts": layouts, "all": len(found), "same": len(found) - len(rows), "rows": rows}


def _difference(name: str, rules: str, layouts: Mapping[str, Mapping[str, Any]]) -> list[str] | None:
    """What was measured beside what is certified under the nearer model of the format; None where that is the same."""
    base, _, flush = rules.partition("-")
    lasts = [float.fromhex(found["last"]) for found in layouts.values()]
    candidates = [edge(name, m + ("-ftz" if flush else "")) for m in reversed(rounding_models(base))]
    apart = [[ulps(base, last, e) for last in lasts] for e in candidates]
    best = min(range(len(apart)), key=lambda i: max(map(abs, apart[i])))
    if not any(apart[best]):
        return None
    under = "every step rounded" if best == 0 else "float32 inside"
    e = candidates[best]
    numbers = map(FORMATS[base].shortest, (*lasts, e.last))
    return [e.sentence, *numbers, under, ", ".join(dict.fromkeys(f"{n:+,}" for n in apart[best]))]


def page(measured: Mapping[str, Any] | None) -> str:
    """The page as Markdown."""
    return markdown(
        Path(__file__).with_name("limits.md.jinja"),
        formats=[*FORMATS],
        breaks=[(what, of, *_by_format(rule)) for what, of, rule in BREAKS],
        infinite=dict(zip(FORMATS, _by_format("naive-number"), strict=True)),
        lost=dict(zip(FORMATS, _by_format("log-softmax-nonzero"), strict=True)),
        limits=_limits(EACH, lambda name: name.startswith("sum-") and name != "sum-of-ones"),
        sixteen=_limits({d: d for d, f in FORMATS.items() if f.precision < 24}),
        flushed=_flushed(),
        ones=[f"{int(edge('sum-of-ones', EACH[d]).next):,}" for d in FORMATS],
        sums=_sums(),
        wrong=[(name, what, *_by_format(rule)) for name, rule, what in WRONG],
        plotted=PLOTTED,
        scaled=_scaling(),
        scaled_to=[f"scaled to {limit_of(FORMATS[d])} in {d}" for d in SCALED_IN],
        measured=measured,
        apart=[] if measured is None else [*_apart(measured)],
    )


def files(measured: Mapping[str, Any] | None) -> dict[str, str]:
    """Everything that is published, by the name of its file."""
    documents = {f"{d}.json": document(d) for d in FORMATS} | {f"{d}-cases.json": cases_document(d) for d in FORMATS}
    return {**documents, "softmaxes.svg": plot(), "README.md": page(measured)}


def measurement() -> dict[str, Any] | None:
    """What PyTorch was measured to do, if that has been committed."""
    try:
        return dict(json.loads(data("limits", MEASURED).read_text()))
    except FileNotFoundError:
        return None


def main(arguments: list[str]) -> int:
    """Print the page, or write everything to the one folder given; 1 with a sentence for anything else."""
    if len(arguments) > 1:
        print(f"python -m refnn.study.limits takes at most one folder, got {len(arguments)}", file=sys.stderr)
        return 1
    if not arguments:
        print(page(measurement()), end="")
        return 0
    try:
        Path(arguments[0]).mkdir(parents=True, exist_ok=True)
        for name, text in files(measurement()).items():
            Path(arguments[0], name).write_text(text, encoding="utf-8")
    except OSError as e:
        print(f"the limits cannot be written to {arguments[0]}: {e.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
