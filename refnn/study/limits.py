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
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from refnn.arithmetic.rounded import Rounded
from refnn.conformance import data
from refnn.formats import FORMATS
from refnn.limits.boundaries import document as cases_document
from refnn.limits.rules import RULES, TERMS, certain
from refnn.limits.search import Edge, bisect, describe, edge, edges, ulps
from refnn.limits.softmaxes import SOFTMAXES, limit_of
from refnn.oracle.truth import truth
from refnn.report.svg import svg

MEASURED = "torch-2.13.0-cpu.json"
EACH = {d: f"{d}-each-op" if f.precision < 24 else d for d, f in FORMATS.items()}  # every step in the format itself


def models_of(dtype: str) -> tuple[str, ...]:
    """The models under which the limits of a format are published."""
    return tuple(dict.fromkeys(m + flush for m in (EACH[dtype], dtype) for flush in ("", "-ftz")))


def document(dtype: str) -> str:
    """The edges of a format under each of its models, as JSON, a line for each."""
    fmt = FORMATS[dtype]
    head = {"format": dtype, "precision": fmt.precision, "emin": fmt.emin, "emax": fmt.emax}
    models = [
        f'"{name}": [\n' + ",\n".join(json.dumps(describe(e)) for e in edges(name)) + "\n]" for name in models_of(dtype)
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


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join(lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows])


def _short(x: float) -> str:
    return "never" if math.isinf(x) else f"{x:.6g}"


def _by_format(name: str, side: str = "next", rules: Mapping[str, str] = EACH) -> list[str]:
    return [_short(getattr(edge(name, rules[d]), side)) for d in FORMATS]


def _answers() -> str:
    infinite, lost = _by_format("naive-number"), _by_format("log-softmax-nonzero")
    rows = [
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
    ]
    quick = _table(("what breaks", "in terms of", *FORMATS), [(what, of, *_by_format(name)) for what, of, name in rows])
    instead = _table(
        ("instead of", "write", "why"),
        [
            ("`exp(x) / exp(x).sum()`", "`softmax(x)`", "it shifts by the maximum: no exponential is above 1"),
            ("`x * limit / abs(x).max()`, then softmax", "`softmax(x)`", "scaling is a temperature, see below"),
            ("`log(softmax(x))`", "`log_softmax(x)`", "a probability that vanishes has a logarithm all the same"),
            (
                "`nll_loss(log(softmax(x)), t)`",
                "`cross_entropy(x, t)`",
                "likewise, and its gradient is never a quotient",
            ),
            ("`log(exp(x).sum())`", "`logsumexp(x)`", "no exponential is above 1, and one is 1: never log(0)"),
            (
                "`binary_cross_entropy(sigmoid(x), t)`",
                "`binary_cross_entropy_with_logits(x, t)`",
                "1 - sigmoid is 0 early",
            ),
            ("`log(1 + exp(x))`", "`softplus(x)`", "`max(x, 0) + log1p(exp(-abs(x)))`"),
            ("`1 - softmax(x)[i]`", "the sum of the others", "the difference is 0 where the others still are numbers"),
        ],
    )
    return f"""\
## You have just met a NaN

**What happened?** Somewhere an exponential, or a sum of them, went beyond the largest number and became infinite, and
inf/inf, inf - inf or 0 times inf is NaN; or a probability vanished and its logarithm became infinite. The gradient
turns to NaN first, often while the loss is still finite. After one such step every weight is NaN.

**At which logit, in my format?** The first number at which it happens, every step in the format itself (`gap` is how
far a logit lies below the largest one of its row):

{quick}

**Why not in the other format?** Overflow is a matter of the exponent: bfloat16 and float32 have the same 8 bits of it
and break near 88, float16 has 5 and breaks at {infinite[0]}, float64 has 11 and breaks at {infinite[3]}. Losing every
digit is a matter of the precision: 1 + exp(-x) is 1 from x = {lost[1]} in bfloat16 and only from {lost[3]} in float64.
So bfloat16 survives logits that overflow float16, and loses small probabilities sooner. A library that computes 16-bit
formats in float32 has float32's limits inside and the format's own where a result is stored: see the second table.

**Is my framework's function safe?** If it shifts by the maximum, it does not overflow at any finite logit: the limit
of `softmax(x, -x)` and of `logsumexp(x, x)` below is the largest number. `refnn limits --against torch` measures
PyTorch's, and the tables at the end show what it found: softmax, log_softmax, logsumexp and cross_entropy never
overflow. The gradient of its logsumexp is exp(x - y), which is 1 at each of several equal logits that are large. Its
binary_cross_entropy of a sigmoid cuts the logarithm off at -100, which hides the limit: from there on the loss is 100
and its gradient 0, and nothing is learned any more. Of any other implementation,
`refnn.check("softmax", forward=f, vjp=v)` tells.

**What do I write instead?**

{instead}
"""


def _limits_table(rules: Mapping[str, str], skip: Callable[[str], bool] = lambda name: False) -> str:
    rows = [
        (r.sentence, *(_both_sides(edge(r.name, name), d) for d, name in rules.items()))
        for r in RULES
        if not skip(r.name)
    ]
    return _table(("what holds, and up to which x", *rules), rows)


def _both_sides(e: Edge, dtype: str) -> str:
    after = "no more numbers" if math.isinf(e.next) else shown(e.next, dtype)
    return f"{shown(e.last, dtype)}, then {after}"


def _flushed() -> str:
    rules = {d: f"{EACH[d]}-ftz" for d in FORMATS}
    same = {r.name for r in RULES if all((edge(r.name, EACH[d]).last == edge(r.name, rules[d]).last) for d in FORMATS)}
    return _limits_table(rules, lambda name: name in same)


def _sums() -> str:
    rows = []
    for m in TERMS:
        found = {d: edge(f"sum-{m}", EACH[d]) for d in FORMATS}
        rows.append((f"{m:,}", *(f"{shown(e.last, d)}; {_grey(e, d)}" for d, e in found.items())))
    return _table(("terms", *FORMATS), rows)


def _grey(e: Edge, dtype: str) -> str:
    if e.grey is None:
        return "no grey zone"
    first, last = map(FORMATS[dtype].shortest, e.grey)
    return f"grey at {first}" if first == last else f"grey from {first} to {last}"


def _breaks() -> str:
    rows = []
    for name, rule, what in (
        ("naive", "naive-nonzero", "(x, x): all zeros, from"),
        ("naive", "naive-number", "(x, 0): NaN, from"),
        ("naive", "naive-below", "(x, x): NaN, from (downwards)"),
        ("scaled", "scaled-nonzero", "(x, x, x): all zeros, from"),
        ("shifted", "softmax-finite", "(x, -x): no number, from"),
        ("online", "online-finite", "(x, x, x): no number, from"),
    ):
        rows.append((name, what, *(_short(edge(rule, EACH[d]).next) for d in FORMATS)))
    return _table(("softmax", "what goes wrong", *FORMATS), rows)


SCALED = ((1000.0, 999.0, 990.0), (-1000.0, -1001.0), (2000.0, 1999.0, 1990.0), (100.0, 99.0, 90.0), (5000.0, 0.0, 0.0))


def _scaling() -> str:
    def probabilities(values: Iterable[Any]) -> str:
        return "(" + ", ".join(f"{float(v):.5g}" for v in values) + ")"

    rows = []
    for row in SCALED:
        cells = [probabilities(truth("softmax", np.array(row)).output.value)]
        for dtype in ("float64", "float32"):
            ar = Rounded(dtype)
            with np.errstate(all="ignore"):
                y = SOFTMAXES["scaled"][0](ar, ar.array(np.array(row)), limit=limit_of(FORMATS[dtype]))
            cells.append(probabilities(y))
        rows.append((probabilities(row), *cells))
    head = ("logits", "softmax", *(f"scaled to {limit_of(FORMATS[d])} in {d}" for d in ("float64", "float32")))
    return _table(head, rows)


def _torch(measured: Mapping[str, Any] | None) -> str:
    if measured is None:
        return "Nothing was measured yet.\n"
    sections = [f"Measured with {measured['against']} on {measured['cpu']}.\n"]
    for rules, every in measured["limits"].items():
        found = {e["name"]: e["measured"] for e in every if e["measured"]}
        head = ("what holds up to", *next(iter(found.values())), "certified", "under", "ulps apart")
        rows = [row for name, layouts in found.items() if (row := _difference(name, rules, layouts)) is not None]
        same = f"{len(found) - len(rows)} of {len(found)} limits are the certified ones in every layout."
        sections.append(f"### {rules}\n\n{same}" + (f" The others:\n\n{_table(head, rows)}\n" if rows else "\n"))
    return "\n".join(sections)


def _difference(name: str, rules: str, layouts: Mapping[str, Mapping[str, Any]]) -> list[str] | None:
    """What was measured beside what is certified under the nearer model of the format; None where that is the same."""
    base, _, flush = rules.partition("-")
    lasts = [float.fromhex(found["last"]) for found in layouts.values()]
    candidates = [edge(name, m + ("-ftz" if flush else "")) for m in dict.fromkeys((EACH[base], base))]
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
    inside = {d: d for d in ("float16", "bfloat16")}
    counts = [f"{int(edge('sum-of-ones', EACH[d]).next):,}" for d in FORMATS]
    return f"""\
# Where softmax and its relatives break

Certified limits of float16, bfloat16, float32 and float64: the last number at which something holds and its neighbour,
at which it no longer does. Found by bisection over bit patterns, with every question decided by ball arithmetic;
nothing is measured and nothing typed in. Generated by `python -m refnn.study.limits conformance/limits`; tests
compare every byte. The same numbers stand in `FORMAT.json` as hexadecimal floats, under every model, and `refnn limits`
prints them.

{_answers()}
## The limits, every step in the format itself

"x" is the number asked about. Where a function appears, it is refnn's definition with every step correctly rounded.

{_limits_table(EACH, lambda name: name.startswith("sum-") and name != "sum-of-ones")}

## 16-bit formats with float32 inside

Stored in 16 bits, computed and summed in float32, as most libraries do for a single function.

{_limits_table(inside)}

## Flush to zero

With subnormal numbers flushed to zero (`float32-ftz` and the like) these limits differ; the others are as above.

{_flushed()}

## Sums of exponentials

The largest x for which the exact sum of equal exponentials of x is below the overflow threshold. In the grey zone both
answers are right: with any order of the sum, and an exp that is off by the generic model's ulps, some evaluations
overflow and others do not. Below it none does, above it all do: each term is off by a factor 1 + 2Ku at most, and each
addition on its way, all but the last, by 1 + u. A long sum in a short format has a zone so wide that only a wider
accumulator makes it mean something: a running sum of ones stops at {", ".join(counts)}.

{_sums()}

## Four softmaxes

*Naive* is the formula; *scaled* multiplies the logits, where one is beyond the limit, so that the largest magnitude is
the limit (88 in float32, 709 in float64, as two of the sources print it); *shifted* subtracts the maximum; *online*
does so block by block, with a running maximum.

{_breaks()}

![Errors of four softmaxes](softmaxes.svg)

In {PLOTTED}, every step correctly rounded; the thin lines are the limit of the scaled softmax and, from theory, the
last logits at which the sum and the first exponential are finite. The naive softmax is as good as the shifted one until
its sum overflows; the scaled one is another function from the limit on, and all zeros where its sum overflows. Beyond
2**24 the three logits come to round to one number, whose softmax is 1/3 each, and the shifted one is right there, too.

Scaling changes the distribution: it divides by a temperature that depends on the input. And it can still overflow, for
the limit is that of one exponential, not of a sum:

{_scaling()}

## What is not finite

A logit of minus infinity is a mask: its probability is 0, its log-probability minus infinity, and all gradients stay
finite. A row of nothing but minus infinities has no softmax: NaN, not zeros. A logit of plus infinity gives NaN with
the shift (inf - inf); the limit, 1 there and 0 elsewhere, is accepted too. NaN in a row gives NaN in all of that row
and in no other. `FORMAT-cases.json` holds these rows with every acceptable answer, and one step on either side of
every limit the correctly rounded outputs and gradients, alone and in a batch with ordinary rows.

## PyTorch's limits

Found by the same bisection, with PyTorch's function in the place of refnn's: single elements, contiguous vectors, and
every other element of a larger tensor; forward and gradient. What is off by many ulps is not always wrong: where a
function is flat, as exp near 0, half an ulp of its value moves the limit far.

{_torch(measured)}"""


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
