"""`refnn ops`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
from refnn.cli.app import CONFORMS, app

# --- ops -------------------------------------------------------------------------------------------------------------


@app.command()
def ops() -> int:
    """List the ops with their signatures."""
    from refnn.ops import OPS

    for op in OPS.values():
        title = (sys.modules[op.forward_definition.__module__].__doc__ or "").strip().partition("\n")[0]
        print(f"{op!r}\n    {title}")
    return CONFORMS
