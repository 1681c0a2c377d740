"""`refnn explain`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refnn.cli.app import CONFORMS, DIFFERS, AsJson, Failure, app, complete, example, print_json, sentence
from refnn.cli.selection import Cotangent, Inputs, Params, call_of, one_array

if TYPE_CHECKING:
    import numpy as np

    from refnn.op import Op

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
    call, value = call_of(found, inputs, cotangent, param), one_array(got)
    with sentence(LookupError, TypeError, ValueError):
        _check_result(found, value, call, what, str(got))
        said = refnn.explain(found, value, call["inputs"], what=what, cotangent=call["cotangent"], **call["params"])
    if as_json:
        fits, tried = ([dataclasses.asdict(f) for f in fs] for fs in (said.fits, said.tried))
        print_json("explain", {"op": said.op, "what": what, "fits": fits, "tried": tried})
    else:
        print(said)
    return CONFORMS if said.fits else DIFFERS


def _check_result(op: Op, value: np.ndarray, call: Mapping[str, Any], what: str, file: str) -> None:
    """ValueError unless a file holds an array of the dtype and the shape of that result: none could fit."""
    from refnn.judging.cases import output_shape

    arrays, params = op.bind(call["inputs"], call["params"])
    like = dict(zip(op.inputs, arrays, strict=True)).get(what.removeprefix("grad[").removesuffix("]"))
    dtype, shape = op.dtype_of(arrays).name, output_shape(op, arrays, params) if like is None else like.shape
    if (value.dtype.name, value.shape) != (dtype, shape):
        raise ValueError(f"{file!r} has {value.dtype.name} of shape {value.shape}, but {what} is {dtype} of {shape}")
