"""The conformance suite: pytest --pyargs refnn.conformance --refnn-impl IMPL (options: refnn.suite.pytest_plugin)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from refnn.suite.pytest_plugin import LINES, of_config
from refnn.suite.read import Suite
from refnn.suite.run import Implementation, implementation, of_run, run_case, settle

if TYPE_CHECKING:
    from refnn.suite.fixture import Fixture


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", of_config(metafunc.config).parameters())


@pytest.fixture(scope="session")
def tested(pytestconfig: pytest.Config) -> Iterator[Implementation]:
    """The implementation, one for each process that runs tests."""
    given = pytestconfig.getoption
    with implementation(given("refnn_impl"), timeout=given("refnn_timeout")) as found:
        yield found


def test_the_fixtures_are_complete() -> None:
    """Every file of the manifest is there, is the one it was, and no other stands beside it."""
    Suite().verify()


def test_case(case: tuple[Fixture, str], tested: Implementation, request: pytest.FixtureRequest) -> None:
    """All results of the case are as its file says, or one that is expected to fail does."""
    fixture, dtype = case
    run = of_config(request.config)
    report = run_case(tested, fixture, dtype, forward=run.forward, options=run.options)
    report.accept = run.options.accept
    report.header["profile"] = run.options.profile
    report.expected.update(of_run(run.expected, [case]))
    settle(report, forward=run.forward)
    request.node.user_properties += [(LINES, report.to_json()), ("worst_ratio", repr(report.worst_ratio))]
    if report.unexpected:
        replays = dict.fromkeys(f"  {f.replay}" for f in report.unexpected if f.replay)
        pytest.fail("\n".join([*map(str, report.unexpected), *replays]), pytrace=False)
    why = report.expected.get(fixture.id, "")
    if report.stale:
        pytest.fail(f"it passes, although it is expected to fail: {why}", pytrace=False)
    if failed := [f for f in report.findings if f.verdict not in report.accept]:
        pytest.xfail(why or report.reason(failed[0]) or "")
    if report.skips:
        pytest.skip(report.skips[fixture.id])
    if not report.results:
        pytest.fail("nothing was answered, and nothing says why", pytrace=False)
