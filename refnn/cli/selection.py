"""Which cases of an op a command takes: the options `--where` and `--without`; and arrays from files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refnn.cli.app import Failure, sentence

if TYPE_CHECKING:
    import numpy as np

    from refnn.judging.groups import Where
    from refnn.op import Op

Wheres = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="NAME=VALUE",
        help="Only cases with this value of a parameter (padding=[1,2]), an input (bias=null), shape, rank, family "
        "or group.",
    ),
]
Without = Annotated[
    str, typer.Option(metavar="GROUPS", help="What it does not support: groups that `refnn cases` lists.")
]
Inputs = Annotated[
    list[Path] | None,
    typer.Option(
        "--inputs", metavar="FILE", help="Inputs: .npy in the op's order, or .npz or .safetensors by their names."
    ),
]
Cotangent = Annotated[Path | None, typer.Option(metavar="FILE", help="The cotangent, in a file of one array.")]
Params = Annotated[
    list[str] | None, typer.Option("--param", metavar="NAME=VALUE", help="A parameter of the op; may be repeated.")
]


def selection(given: Sequence[str] | None) -> dict[str, list[Any]]:
    """What `--where` says, as `refnn.cases` takes it. Failure names a text that is no NAME=VALUE."""
    from refnn.suite.options import where_of

    with sentence(ValueError):
        return where_of(given or ())


def lacking_groups(op: str, given: str) -> Where | None:
    """What `--without` says, as the `supports=` of `refnn.check`. Failure names a group that no case of the op has."""
    from refnn.judging.cases import cases
    from refnn.judging.groups import begins, groups, lacking
    from refnn.suite.options import listed

    if not (names := listed([given])):
        return None
    known = dict.fromkeys(g for c in cases(op, "float32") for g in groups(c))
    for name in names:
        if not any(begins(g, name) for g in known):
            raise Failure(f"--without {name!r}: no case of {op} is of this group, its groups: {'; '.join(known)}")
    return lacking(names)


# --- arrays ----------------------------------------------------------------------------------------------------------


def call_of(op: Op, files: Sequence[Path], cotangent: Path | None, params: Sequence[str] | None) -> dict[str, Any]:
    """A call of an op as `inputs=` of `refnn.check` takes it: inputs, parameters, and the cotangent, which a file of
    inputs may hold, too. Failure says what is wrong with the files."""
    from refnn.suite.options import named_value

    named: dict[str, np.ndarray] = {}
    unnamed: list[np.ndarray] = []
    for path in files:
        for name, array in arrays(path).items():
            if not name:
                unnamed.append(array)
            elif name not in (*op.inputs, "cotangent"):
                raise Failure(f"{str(path)!r} has {name!r}, which is no input of {op.name}: {', '.join(op.inputs)}")
            elif name in named:
                raise Failure(f"{str(path)!r} has {name!r}, which an earlier file has, too")
            else:
                named[name] = array
    if unnamed and named.keys() & op.inputs.keys():
        raise Failure("--inputs has arrays with names and arrays without: give all inputs in one of both ways")
    g = named.pop("cotangent", None) if cotangent is None else one_array(cotangent)
    with sentence(ValueError):
        given = dict(named_value("param", text) for text in params or ())
    return {
        "inputs": tuple(unnamed) if unnamed else tuple(named.get(name) for name in op.inputs),
        "params": given,
        "cotangent": g,
    }


def one_array(path: Path) -> np.ndarray:
    """The array of a file that holds one. Failure says how many it holds."""
    if len(found := arrays(path)) != 1:
        raise Failure(f"{str(path)!r} has {len(found)} arrays ({', '.join(found) or 'none'}), expected one")
    return next(iter(found.values()))


def arrays(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays of a file by name; that of a .npy file has the name "". bfloat16 is what NumPy saves as two bytes
    without a meaning. Failure says why the file cannot be read."""
    import numpy as np
    from ml_dtypes import bfloat16

    try:
        if path.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.numpy import load

            try:
                return load(path.read_bytes())
            except SafetensorError as e:
                raise ValueError(e) from None
        if path.suffix not in (".npy", ".npz"):
            raise Failure(f"{str(path)!r} is no .npy, .npz or .safetensors file")
        found = np.load(path, allow_pickle=False)
        by_name = {"": found} if isinstance(found, np.ndarray) else {n: found[n] for n in found.files}
    except OSError as e:
        raise Failure(f"cannot read {str(path)!r}: {e.strerror or e}") from e
    except (ValueError, KeyError, EOFError) as e:
        raise Failure(f"cannot read {str(path)!r}: {e}") from e
    return {n: x.view(bfloat16) if x.dtype == np.dtype("V2") else x for n, x in by_name.items()}
