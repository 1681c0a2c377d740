"""`refnn model` and `refnn grade`."""

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
