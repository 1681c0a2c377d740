"""The command `refnn`: report, render, compare, check, gen, verify, export, ops, limits, power.

Exit codes: 0 conforming, 1 error (usage too), 2 not conforming, 3 nothing was checked, 130 interrupted. Everything that
takes time to import is imported by the command that uses it. NotInstalled where there is no typer: `refnn.__main__`,
which the command starts with, makes a sentence of it.
"""

from __future__ import annotations

from refnn.refusals import needed_by

with needed_by("the command line"):
    import typer  # noqa: F401  # before the commands, which all do

from refnn.cli import report, check, suite, compare, ops, limits, power  # isort: skip  # as --help lists them
from refnn.cli.app import main

__all__ = ["check", "compare", "limits", "main", "ops", "power", "report", "suite"]
