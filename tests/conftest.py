"""What tests ask for by name."""

from __future__ import annotations

import judges
import pytest

from refnn.judging import check_case


@pytest.fixture
def shared_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks are judged by judges that share what depends on the case alone."""
    monkeypatch.setattr(check_case, "Judge", judges.judge)
