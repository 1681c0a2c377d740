"""`refnn check`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from refnn.implementations.framework import Framework
    from refnn.networks.network import Network
    from refnn.report import Report
from refnn.cli.app import (
    DIFFERS,
    Accept,
    Algorithm,
    AsJson,
    Dtypes,
    Failure,
    ModelName,
    ProfileName,
    Seed,
    Xfails,
    app,
    complete,
    example,
    exit_status,
    known_dtypes,
    print_json,
    sentence,
    tell,
)
from refnn.cli.selection import Cotangent, Inputs, Params, Wheres, Without, call_of, lacking_groups, selection

# --- check -----------------------------------------------------------------------------------------------------------


@app.command(
    epilog=example(
        "refnn check softmax --impl torch",
        "refnn check tanh --impl mine:tanh --vjp mine:tanh_vjp --accept explained",
        "refnn check softmax --impl mine:sm --framework torch --model bfloat16",
    )
)
def check(
    name: Annotated[
        str,
        typer.Argument(metavar="OP", help="An op that `refnn ops` lists, or a network.", autocompletion=complete("op")),
    ],
    impl: Annotated[
        str,
        typer.Option(
            metavar="IMPL",
            help="torch, refnn, cmd:PROGRAM, lines:PROGRAM, or module:object, its forward f(*inputs, **params) or a "
            "mapping to these.",
        ),
    ],
    vjp: Annotated[str | None, typer.Option(metavar="IMPL", help="module:object of v(g, *inputs, **params).")] = None,
    jvp: Annotated[
        str | None, typer.Option(metavar="IMPL", help="module:object of j(inputs, tangents, **params).")
    ] = None,
    framework: Annotated[
        str | None, typer.Option(metavar="NAME", help="torch, jax, ...: IMPL takes its arrays.")
    ] = None,
    dtype: Dtypes = None,
    model: ModelName = None,
    algorithm: Algorithm = "accurate",
    case: Annotated[str | None, typer.Option(metavar="ID", help="Only the case with this id.")] = None,
    where: Wheres = None,
    without: Without = "",
    families: Annotated[
        list[str] | None,
        typer.Option(
            "--families",
            "--family",
            metavar="NAME",
            help="Only these input families.",
            autocompletion=complete("family"),
        ),
    ] = None,
    inputs: Inputs = None,
    param: Params = None,
    cotangent: Cotangent = None,
    order: Annotated[int, typer.Option(metavar="N", help="2: of torch, also double backward.")] = 1,
    profile: ProfileName = "framework",
    accept: Accept = None,
    xfails: Xfails = None,
    false_alarm: Annotated[
        float, typer.Option(metavar="P", help="Probability of a wrong `suspect` in the whole check.")
    ] = 1e-7,
    seed: Seed = 0,
    thorough: Annotated[bool, typer.Option("--thorough", help="Minutes instead of seconds.")] = False,
    as_json: AsJson = False,
) -> int:
    """Check an implementation of one op or network.

    Modules are also looked for in the current folder.
    """
    from refnn.networks.network import subject
    from refnn.ops import OPS
    from refnn.suite.options import listed

    with sentence(LookupError):
        subject(name)
    chosen: dict[str, Any] = {
        "profile": profile,
        "thorough": thorough,
        "model": model,
        "algorithm": algorithm,
        "accept": listed(accept or ()),
        "families": listed(families) if families else None,
        "false_alarm": false_alarm,
        "expected_failures": _expected(xfails),
        "order": order,
    }
    if name not in OPS and (where or without or inputs):
        raise Failure(f"{name} is a network: --where, --without and --inputs are of ops only")
    if not inputs and (param or cotangent):
        raise Failure(f"--{'param' if param else 'cotangent'} is of inputs that are given: it needs --inputs")
    if case is not None and inputs:
        raise Failure("--case and --inputs do not go together: each names the inputs")
    if where or without:
        chosen |= {"where": selection(where), "supports": lacking_groups(name, without)}
    if framework is not None and vjp is not None:
        raise Failure(f"--vjp {vjp} does not go with --framework {framework}, which gives the gradients")
    given_inputs = call_of(OPS[name], inputs, cotangent, param) if inputs else None
    reports = []
    with _functions(name, impl, vjp, framework, jvp) as given:
        dtypes: list[str | None] = [*known_dtypes(dtype or [])] or [None]
        for d in dtypes:
            found = _check(name, {**given, **chosen}, d, case if given_inputs is None else given_inputs, seed)
            reports.append(found)
            if not as_json:
                tell(str(found))
    if as_json:
        from refnn.report.lines import described

        print_json("check", {"ok": all(r.ok for r in reports), "reports": [described(r) for r in reports]})
    codes = [exit_status(r) for r in reports]
    return DIFFERS if DIFFERS in codes else max(codes)


def _expected(path: Path | None) -> dict[str, str]:
    """The expected findings that a file names."""
    from refnn.suite.run import expected_lines

    if path is None:
        return {}
    with sentence(ValueError):
        return {key: reason for _, key, reason in expected_lines(path)}


@contextmanager
def _functions(
    name: str, impl: str, vjp: str | None, framework: str | None, jvp: str | None
) -> Iterator[dict[str, Any]]:
    """What `refnn.check` is to be given for an implementation, while it is in use."""
    from refnn.implementations import adapter_for
    from refnn.implementations.spec import load_function, parse

    with sentence(LookupError, ValueError):
        spec = parse(impl, function=True)
    if spec.kind != "function" and (vjp, jvp, framework) != (None, None, None):
        raise Failure(f"--impl {impl} has its own gradients: --vjp, --jvp and --framework do not go with it")
    if spec.kind == "function" and framework is not None:
        yield {"implementation": spec.value, "framework": framework}
    elif spec.kind == "function":
        with sentence(LookupError, ValueError):
            pullback = None if vjp is None else load_function(vjp, "--vjp")
            pushed = None if jvp is None else load_function(jvp, "--jvp")
        yield {"forward": spec.value, "vjp": pullback, "jvp": pushed}
    elif spec.kind == "mapping":
        with sentence(LookupError):
            forward, pullback = spec.functions(name)
        yield {"forward": forward, "vjp": pullback}
    elif spec.kind == "framework":  # its own function, or its layers in the order of a network
        with sentence(LookupError):
            found = _offered(adapter_for(impl), name)
        yield {"implementation": found, "framework": impl}
    else:
        from refnn.checking.check import by_name
        from refnn.implementations.executable import Program
        from refnn.networks.network import fixtures, subject
        from refnn.suite.fixture import SUITE

        with sentence(ValueError), Program(spec.value, SUITE, lines=spec.kind == "lines") as program:
            forward, pullback = program.functions(subject(name))
            if name in fixtures():
                forward, pullback = by_name(_network(name), forward, pullback)
            yield {"forward": forward, "vjp": pullback}


def _offered(framework: Framework, name: str) -> Any:
    """What a framework has for an op or network. LookupError where it has nothing."""
    from refnn.ops import OPS

    if name in OPS:
        if name not in framework.ops:
            raise LookupError(f"the adapter of {framework.name} has no {name!r}, only {', '.join(framework.ops)}")
        return framework.ops[name]
    if framework.module is None:
        raise LookupError(f"the adapter of {framework.name} runs ops, and {name!r} is a network")
    return framework.module(_network(name))


def _network(name: str) -> Network:
    from refnn.networks.network import Network

    return Network.load(name)


def _check(
    name: str, given: Mapping[str, Any], dtype: str | None, case: str | Mapping[str, Any] | None, seed: int
) -> Report:
    import refnn

    with sentence(LookupError, TypeError, ValueError):
        inputs: Any = refnn.case(case) if isinstance(case, str) else case
        if isinstance(case, str) and dtype not in (None, inputs.cotangent.dtype.name):
            from refnn.suite.make import widened

            inputs = widened(inputs, str(dtype))
        subject = name if name in refnn.ops else _network(name)
        return refnn.check(subject, dtype=dtype, inputs=inputs, seed=seed, **given)
