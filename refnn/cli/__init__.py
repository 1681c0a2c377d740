"""The command `refnn`: its subcommands, one module for each group of them.

The exit status is 0 if all conforms, 1 after an error (also of usage), 2 if something does not conform, 3 if nothing
was checked, 4 if a grade is inconclusive, and 130 after an interrupt. Each command imports for itself what takes time
to import.
Without typer, `refnn.__main__`, which the command starts with, makes a sentence of the NotInstalled that this raises.
"""

from __future__ import annotations

from refnn.refusals import needed_by

with needed_by("the command line"):
    import typer  # noqa: F401  # before the commands, which all do

from refnn.cli import report, check, explain, model, suite, compare, ops, cases, limits, power, doctor, renew  # isort: skip  # as --help lists them
from refnn.cli.app import main

__all__ = [
    "cases",
    "check",
    "compare",
    "doctor",
    "explain",
    "limits",
    "main",
    "model",
    "ops",
    "power",
    "renew",
    "report",
    "suite",
]
