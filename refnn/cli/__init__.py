"""The command `refnn`: report, render, compare, check, gen, verify, export, ops, limits, power.

Exit codes: 0 conforming, 1 error (usage too), 2 not conforming, 3 nothing was checked, 130 interrupted. Everything that
takes time to import is imported by the command that uses it.
"""

from __future__ import annotations

from refnn.cli import check, compare, limits, ops, power, report, suite
from refnn.cli.app import main

__all__ = ["check", "compare", "limits", "main", "ops", "power", "report", "suite"]
