"""Which cases of an op a command takes: the options `--where` and `--without`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refnn.cli.app import Failure

if TYPE_CHECKING:
    from refnn.judging.groups import Where

Wheres = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="NAME=VALUE",
        help="Only cases with this value of a parameter (groups=1, padding=[1,2], bias=null), of an input "
        "(target=probabilities), or of shape, rank, family or group. May be repeated; one name again adds a value.",
    ),
]
Without = Annotated[
    str,
    typer.Option(
        metavar="GROUPS",
        help="Groups of cases that are not supported, separated by commas, as `refnn cases OP` lists them.",
    ),
]


def selection(given: Sequence[str] | None) -> dict[str, list[Any]]:
    """What `--where` says, as `refnn.cases` takes it. Failure names a text that is no NAME=VALUE."""
    from refnn.implementations.protocol import parse_value

    found: dict[str, list[Any]] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise Failure(f"--where {text!r} is not NAME=VALUE")
        if name == "group":  # words
            found.setdefault(name, []).append(value)
            continue
        try:
            parsed, rest = parse_value(value)
        except ValueError as e:
            raise Failure(f"--where {text!r}: {e}") from e
        if rest:
            raise Failure(f"--where {text!r}: the value is followed by {rest!r}")
        found.setdefault(name, []).append(parsed)
    return found


def lacking_groups(op: str, given: str) -> Where | None:
    """What `--without` says, as the `supports=` of `refnn.check`. Failure names a group that no case of the op has."""
    from refnn.judging.cases import cases
    from refnn.judging.groups import begins, groups, lacking

    names = [n.strip() for n in given.split(",") if n.strip()]
    if not names:
        return None
    known = dict.fromkeys(g for c in cases(op, "float32") for g in groups(c))
    for name in names:
        if not any(begins(g, name) for g in known):
            raise Failure(f"--without {name!r}: no case of {op} is of this group, its groups: {'; '.join(known)}")
    return lacking(names)
