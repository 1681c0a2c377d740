"""`refnn model`, `refnn compare-runs` and `refnn grade`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from refnn.cli.app import CONFORMS, DIFFERS, AsJson, app, example, print_json, sentence

UNDECIDED = 4


@app.command(epilog=example("refnn model mine:make", "refnn model package.module:make --compile"))
def model(
    make: Annotated[str, typer.Argument(metavar="MODULE:FUNCTION", help="Returns the module and a tuple of inputs.")],
    compile: Annotated[bool, typer.Option("--compile", help="Judge the compiled module, as a whole.")] = False,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="Where it runs.")] = "cpu",
    seed: Annotated[int, typer.Option(metavar="N", help="Of PyTorch's generator.")] = 0,
    as_json: AsJson = False,
) -> int:
    """Check a PyTorch model node by node, forward and backward.

    Prints the report, the first node that leaves its allowance, and how much of the loss's expected error is from which
    node. The exit status is 2 if one deviates.
    """
    import refnn
    from refnn.implementations.spec import load_function

    with sentence(LookupError, TypeError, ValueError, RuntimeError):
        module, inputs = load_function(make, "the model")()
        report = refnn.check_model(module, inputs, compile=compile, device=device, seed=seed)
    budget = dict(sorted(report.budget.items(), key=lambda item: -item[1]))
    if as_json:
        said: dict[str, Any] = {"verdict": report.verdict, "ok": report.ok, "first_deviation": report.first_deviation}
        print_json("model", {**said, "unsupported": report.unsupported, "budget": budget})
    else:
        print(report)
        print(f"first deviation: {report.first_deviation or 'none'}")
        for name, share in budget.items():
            print(f"  {share:6.1%} of the variance of the loss is from {name}")
    return CONFORMS if report.ok else DIFFERS


@app.command(
    "compare-runs",
    epilog=example("refnn compare-runs mine:make", "refnn compare-runs mine:make eager yesterday.npz --save today.npz"),
)
def compare_runs(
    make: Annotated[str, typer.Argument(metavar="MODULE:FUNCTION", help="Returns the module and a tuple of inputs.")],
    first: Annotated[str, typer.Argument(metavar="RUN", help="eager, compiled, or a file of --save.")] = "eager",
    second: Annotated[str, typer.Argument(metavar="RUN", help="Likewise.")] = "compiled",
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the first run, to compare it later.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of PyTorch's generator and the cotangent.")] = 0,
    as_json: AsJson = False,
) -> int:
    """Say which of two runs of a model is closer to the truth.

    And whether rounding explains their difference. The exit status is 2 if one of them deviates.
    """
    import json

    import refnn
    from refnn.implementations.spec import load_function

    with sentence(LookupError, TypeError, ValueError, RuntimeError, OSError):
        module, inputs = load_function(make, "the model")()
        if save is not None:
            refnn.run_model(module, inputs, first, seed=seed).save(save)
        found = refnn.compare_runs(module, inputs, first, second, seed=seed)
    if as_json:
        print_json("compare-runs", json.loads(found.to_json()))
    else:
        print(found)
    return CONFORMS if found.ok else DIFFERS


@app.command(
    epilog=example("refnn grade problem.py solution.py", "refnn grade problem.py solution.py --dtype bfloat16")
)
def grade(
    problem: Annotated[Path, typer.Argument(metavar="PROBLEM", help="A file with Model and get_inputs.")],
    solution: Annotated[Path, typer.Argument(metavar="SOLUTION", help="A file with ModelNew.")],
    dtype: Annotated[str, typer.Option(metavar="DTYPE", help="What both run in.")] = "float32",
    time_limit: Annotated[float, typer.Option(metavar="SECONDS", help="For each run of the replacement.")] = 300.0,
    seed: Annotated[int, typer.Option(metavar="N", help="Of PyTorch's generator.")] = 0,
    as_json: AsJson = False,
) -> int:
    """Grade a replacement of a PyTorch model.

    Both run in a process of their own. The exit status is 0 if its outputs and gradients conform, 2 if one does not,
    and 4 if the bounds cannot tell.
    """
    import refnn
    from refnn.checking.grade import INCONCLUSIVE

    with sentence(TypeError, ValueError, RuntimeError):
        found = refnn.grade(problem, solution, dtype=dtype, seed=seed, time_limit=time_limit)
    if as_json:
        import json

        print_json("grade", json.loads(found.to_json()))
    else:
        print(found)
    return CONFORMS if found.ok else UNDECIDED if found.verdict == INCONCLUSIVE else DIFFERS
