"""`refnn explain`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from refnn.cli.app import CONFORMS, DIFFERS, AsJson, Failure, app, complete, example, print_json, sentence
from refnn.cli.selection import Cotangent, Inputs, Params, call_of, one_array

# --- explain ---------------------------------------------------------------------------------------------------------


@app.command(
    epilog=example(
        "refnn explain y.npy --op softmax --inputs x.npy --param axis=-1",
        "refnn explain dw.npy --op linear --inputs call.npz --what 'grad[weight]'",
    )
)
def explain(
    got: Annotated[Path, typer.Argument(metavar="GOT", help="The result: a .npy, .npz or .safetensors file of it.")],
    op: Annotated[str, typer.Option(metavar="OP", help="The op that made it.", autocompletion=complete("op"))],
    inputs: Inputs = None,
    param: Params = None,
    what: Annotated[str, typer.Option(metavar="RESULT", help="output, or grad[NAME] of an input.")] = "output",
    cotangent: Cotangent = None,
    as_json: AsJson = False,
) -> int:
    """Say which models and algorithms fit a result.

    All models that store the dtype of the inputs are tried, each with every algorithm of the op. A model fits if the
    result lies within its worst case. The exit status is 2 if none does.
    """
    import refnn
    from refnn.ops import find

    with sentence(LookupError):
        found = find(op)
    if not inputs:
        raise Failure(f"explain needs the inputs that {op} was given: --inputs FILE, for {', '.join(found.inputs)}")
    call = call_of(found, inputs, cotangent, param)
    with sentence(LookupError, TypeError, ValueError):
        said = refnn.explain(
            found, one_array(got), call["inputs"], what=what, cotangent=call["cotangent"], **call["params"]
        )
    if as_json:
        fits, tried = ([dataclasses.asdict(f) for f in fs] for fs in (said.fits, said.tried))
        print_json("explain", {"op": said.op, "what": what, "fits": fits, "tried": tried})
    else:
        print(said)
    return CONFORMS if said.fits else DIFFERS
