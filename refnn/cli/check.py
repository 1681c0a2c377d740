"""`refnn check`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from refnn.networks.network import Network
    from refnn.report import Report
from refnn.cli.app import DIFFERS, Dtypes, Failure, Seed, app, exit_status, known_dtypes, sentence
from refnn.cli.selection import Wheres, Without, lacking_groups, selection

# --- check -----------------------------------------------------------------------------------------------------------


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="OP", help="An op that `refnn ops` lists, or a fixture network.")],
    impl: Annotated[
        str,
        typer.Option(
            metavar="IMPL",
            help="The implementation: module:object, torch, refnn, cmd:PROGRAM or lines:PROGRAM. The object is the "
            "forward f(*inputs, **params), of a network f(params, *inputs), or a mapping from names to these.",
        ),
    ],
    vjp: Annotated[str | None, typer.Option(metavar="MODULE:OBJECT", help="The vjp: v(g, *inputs, **params).")] = None,
    framework: Annotated[
        str | None, typer.Option(help="torch: IMPL is a function of its tensors, and its autograd gives the gradients.")
    ] = None,
    dtype: Dtypes = None,
    case: Annotated[
        str | None, typer.Option(metavar="ID", help="Only the case with this id, as reports show it.")
    ] = None,
    where: Wheres = None,
    without: Without = "",
    profile: Annotated[
        str,
        typer.Option(
            help="framework: everything counts. kernel: special values stand apart and do not decide. teaching: "
            "ordinary numbers, in words."
        ),
    ] = "framework",
    seed: Seed = 0,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Minutes instead of seconds: more seeds and larger shapes.")
    ] = False,
) -> int:
    """Check an implementation of one op or network. Modules are also looked for in the current folder."""
    from refnn.networks.network import subject
    from refnn.ops import OPS

    with sentence(LookupError):
        subject(name)
    chosen: dict[str, Any] = {"profile": profile, "thorough": thorough}
    if where or without:
        if name not in OPS:
            raise Failure(f"{name} is a network: --where and --without select cases of ops only")
        chosen |= {"where": selection(where), "supports": lacking_groups(name, without)}
    if framework is not None and vjp is not None:
        raise Failure(f"--vjp {vjp} does not go with --framework {framework}, which gives the gradients")
    codes = []
    with _functions(name, impl, vjp, framework) as given:
        dtypes: list[str | None] = [*known_dtypes(dtype or [])] or [None]
        for d in dtypes:
            found = _check(name, {**given, **chosen}, d, case, seed)
            print(found)
            codes.append(exit_status(found))
    return DIFFERS if DIFFERS in codes else max(codes)


@contextmanager
def _functions(name: str, impl: str, vjp: str | None, framework: str | None) -> Iterator[dict[str, Any]]:
    """What `refnn.check` is to be given for an implementation, while it is in use."""
    from refnn.implementations.spec import load_function, parse
    from refnn.ops import OPS
    from refnn.witnesses import torch_witness

    with sentence(LookupError, ValueError):
        spec = parse(impl, function=True)
    if spec.kind != "function" and (vjp is not None or framework is not None):
        raise Failure(f"--impl {impl} has its own gradients: --vjp and --framework do not go with it")
    if spec.kind == "function" and framework is not None:
        yield {"implementation": spec.value, "framework": framework}
    elif spec.kind == "function":
        with sentence(LookupError, ValueError):
            pullback = None if vjp is None else load_function(vjp, "--vjp")
        yield {"forward": spec.value, "vjp": pullback}
    elif spec.kind == "mapping":
        with sentence(LookupError):
            forward, pullback = spec.functions(name)
        yield {"forward": forward, "vjp": pullback}
    elif spec.kind == "torch":  # its own function, or its layers in the order of a network
        with sentence(LookupError):
            witness = torch_witness()
        found = witness.FUNCTIONS[name] if name in OPS else witness.module(_network(name))
        yield {"implementation": found, "framework": "torch"}
    else:
        from refnn.checking.check import by_name
        from refnn.implementations.executable import Program
        from refnn.networks.network import subject
        from refnn.suite.fixture import SUITE

        with sentence(ValueError), Program(spec.value, SUITE, lines=spec.kind == "lines") as program:
            forward, pullback = program.functions(subject(name))
            if name not in OPS:
                forward, pullback = by_name(_network(name), forward, pullback)
            yield {"forward": forward, "vjp": pullback}


def _network(name: str) -> Network:
    from refnn.networks.network import Network

    return Network.load(name)


def _check(name: str, given: Mapping[str, Any], dtype: str | None, case: str | None, seed: int) -> Report:
    import refnn

    with sentence(LookupError, TypeError, ValueError):
        inputs = None if case is None else refnn.case(case)
        if inputs is not None and dtype not in (None, inputs.cotangent.dtype.name):
            from refnn.suite.make import widened

            inputs = widened(inputs, str(dtype))
        subject = name if name in refnn.ops else _network(name)
        return refnn.check(subject, dtype=dtype, inputs=inputs, seed=seed, **given)
