"""Figures as SVG text: self-contained, and the same bytes for the same figure."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from refnn.refusals import needed_by


def svg(draw: Callable[[Any], Any]) -> str:
    """The figure that `draw(matplotlib.pyplot)` returns. NotInstalled where there is no matplotlib."""
    with needed_by("a plot"):
        import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    style: Any = {"svg.hashsalt": "refnn", "svg.fonttype": "none", "font.size": 8}
    with plt.rc_context(style), np.errstate(all="ignore"):  # axes look a decade further than the numbers reach
        figure = draw(plt)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def plot(traces: Mapping[str, Sequence[Any]], steps: str = "step") -> str:
    """Traces of an objective, by name, as curves over `steps`: logarithmic where all that is shown is positive.

    A curve ends at a thousand times the largest number that a trace begins with. A cross at the upper edge marks where
    one is not finite, as that of a run which diverged is in the end.
    """
    numbers = {name: [float(v) for v in trace] for name, trace in traces.items()}
    top = 1000 * max((abs(v) for trace in numbers.values() for v in trace[:1] if math.isfinite(v)), default=math.inf)
    shown = {name: [v if abs(v) <= top else math.nan for v in trace] for name, trace in numbers.items()}

    def draw(plt: Any) -> Any:
        figure, axis = plt.subplots(figsize=(6, 3.5))
        for i, (name, trace) in enumerate(numbers.items()):
            axis.plot(shown[name], color=f"C{i}", label=name, marker="." if len(trace) < 50 else "")
            lost = [k for k, v in enumerate(trace) if not math.isfinite(v)]
            edge = axis.get_xaxis_transform()  # steps, and parts of the height
            axis.plot(lost, [1] * len(lost), "x", color=f"C{i}", transform=edge, clip_on=False, gid=f"not-finite-{i}")
        values = [v for trace in shown.values() for v in trace if not math.isnan(v)]
        axis.set_yscale("log" if values and min(values) > 0 else "linear")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_xlabel(steps)
        axis.set_ylabel("objective")
        if traces:
            axis.legend()
        return figure

    return svg(draw)
