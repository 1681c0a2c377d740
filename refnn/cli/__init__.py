"""The command `refnn`: report, render, compare, check, gen, verify, export, ops, limits, power, renew.

Exit codes: 0 conforming, 1 error (usage too), 2 not conforming, 3 nothing was checked, 130 interrupted. Everything that
takes time to import is imported by the command that uses it.
"""

from __future__ import annotations

from refnn.cli import report, check, suite, compare, ops, limits, power, renew  # isort: skip  # as --help lists them
from refnn.cli.app import main

__all__ = ["check", "compare", "limits", "main", "ops", "power", "renew", "report", "suite"]
