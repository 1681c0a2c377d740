"""What tests ask for by name."""

from __future__ import annotations

import judges
import marks
import pytest

from refnn.judging import check_case
from refnn.ops import OPS


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marks.sample_sweeps(items, frozenset(OPS))


@pytest.fixture
def shared_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks are judged by judges that share what depends on the case alone."""
    monkeypatch.setattr(check_case, "Judge", judges.judge)
