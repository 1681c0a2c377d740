"""The pytest plugin of the conformance suite: its options and its report. It does nothing unless an option is given.

    pytest --pyargs refnn.conformance --refnn-impl torch

Each case of the fixtures is one test with the id of the case. A run in which no case is selected or none passes is
never green. If plugins are not loaded automatically, give `-p refnn.suite.pytest_plugin`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from refnn.report import Report
    from refnn.suite.options import Cases, Options
    from refnn.suite.read import Suite

FAMILIES = ("smoke", "normal", "hard", "special", "limits", "network")
LINES = "refnn"  # the user property that carries the report of a case to where the report is written


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("refnn", "conformance of neural-network operations and their gradients")
    option = group.addoption
    option(
        "--refnn-impl",
        metavar="IMPL",
        help="the implementation: torch, package.module:object, cmd:PROGRAM or lines:PROGRAM",
    )
    option("--refnn-ops", metavar="GLOB", default="*", help="only these ops; several separated by commas")
    option(
        "--refnn-dtype", metavar="DTYPE", help="the working format; by default the format of the inputs of each case"
    )
    option("--refnn-family", metavar="FAMILY", action="append", default=[], help="only this family; may be repeated")
    option("--refnn-case", metavar="ID", action="append", default=[], help="only this case; may be repeated")
    option("--refnn-forward", action="store_true", help="only outputs, no gradients")
    option(
        "--refnn-accept",
        metavar="VERDICT",
        action="append",
        default=[],
        help="a verdict that passes, for example explained",
    )
    option("--refnn-model", metavar="MODEL", help="what the implementation computes in, for example float32-ftz")
    option("--refnn-algorithm", metavar="NAME", default="accurate", help="the declared algorithm to judge by")
    option(
        "--refnn-where",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="only cases with this value of a parameter, or of shape, rank, family or group; may be repeated",
    )
    option("--refnn-without", metavar="GROUPS", default="", help="groups of cases that are not supported")
    option("--refnn-profile", metavar="NAME", default="framework", help="framework, kernel or teaching")
    option("--refnn-xfails", metavar="FILE", help="expected failures, one a line: ID  # reason")
    option("--refnn-min-cases", metavar="N", type=int, default=1, help="fail if fewer cases pass (default 1)")
    option(
        "--refnn-timeout", metavar="S", type=float, default=10.0, help="how many seconds a program has for one answer"
    )
    option("--refnn-report", metavar="PATH", help="write the report as JSON Lines")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "refnn_op(name): a case of this op")
    for family in FAMILIES:
        config.addinivalue_line("markers", f"refnn_{family}: a case of the family {family}")
    if config.getoption("refnn_impl") is None or hasattr(config, "workerinput"):
        return
    from refnn.suite.run import implementation

    try:
        config.stash[RUN] = run = Run(config)
        with implementation(run.impl, timeout=run.timeout) as found:
            name, about = found.name, found.about
        collector = Collector(config, run, name, about)
    except (LookupError, TypeError, ValueError, FileNotFoundError) as e:
        raise pytest.UsageError(f"refnn: {e.args[0] if isinstance(e, LookupError) else e}") from e
    config.pluginmanager.register(collector, "refnn-collector")


class Run:
    """The run that the options describe: the cases with their working formats, and the expected failures. ValueError or
    LookupError names a wrong value of an option."""

    def __init__(self, config: pytest.Config) -> None:
        from refnn.suite.options import listed, options
        from refnn.suite.read import the_suite
        from refnn.suite.run import committed, read_expected, required

        given = config.getoption
        self.impl: str = given("refnn_impl")
        self.forward: bool = given("refnn_forward")
        self.timeout: float = given("refnn_timeout")
        self.options: Options = options(
            accept=listed(given("refnn_accept")),
            model_=given("refnn_model"),
            algorithm=given("refnn_algorithm"),
            where=given("refnn_where"),
            without=given("refnn_without"),
            profile=given("refnn_profile"),
        )
        self.suite: Suite = the_suite()
        dtype, families = self.options.dtype(given("refnn_dtype")), listed(given("refnn_family"))
        selected = required(self.suite, given("refnn_ops"), dtype, families, given("refnn_case"))
        self.cases: Cases = self.options.chosen(selected)
        if not self.cases:
            raise LookupError("the options select no case: nothing would be checked")
        path = given("refnn_xfails")
        every = committed(self.impl, self.suite) if path is None else read_expected(Path(path), self.suite)
        self.expected: Mapping[str, str] = every

    def parameters(self) -> list[Any]:
        """A pytest parameter for each case, with its markers."""
        found = []
        for fixture, dtype in self.cases:
            marks: list[Any] = [pytest.mark.refnn_op(name=fixture.op), getattr(pytest.mark, f"refnn_{fixture.family}")]
            found.append(pytest.param((fixture, dtype), id=fixture.id, marks=marks))
        return found


class Collector:
    """Collects the reports of all cases, counts them, and writes the report. It lives in the process that the user
    started. Worker processes only send their reports to it."""

    def __init__(self, config: pytest.Config, run: Run, name: str, about: Mapping[str, Any]) -> None:
        from refnn.report import Report
        from refnn.suite.run import header, of_run

        self.path = _writable(config.getoption("refnn_report"))
        self.forward: bool = run.forward
        self.least: int = config.getoption("refnn_min_cases")
        told = header(name, about, run.cases, run.suite, forward=run.forward, options=run.options)
        self.report: Report = Report(told, accept=run.options.accept)
        self.report.header["command"] = shlex.join(["pytest", *map(str, config.invocation_params.args)])
        self.report.expected.update(of_run(run.expected, run.cases))
        self.ran = 0
        self.passed = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        lines = dict(report.user_properties).get(LINES)
        # Before other plugins, such as --junitxml, write these lines into their own reports.
        report.user_properties = [p for p in report.user_properties if p[0] != LINES]
        if report.when != "call" or lines is None:
            return
        from refnn.report.lines import loads

        self.ran += 1
        self.passed += report.outcome == "passed"
        part = loads(str(lines))
        self.report.results.extend(part.results)
        self.report.findings.extend(part.findings)
        self.report.skips.update(part.skips)

    @property
    def problem(self) -> str:
        """Why the run cannot be green even if no test failed; empty if it can."""
        if not self.report.elements:
            return "nothing was checked"
        return f"{self.passed} cases pass, expected at least {self.least}" if self.passed < self.least else ""

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        from refnn.suite.run import settle

        self.report.partial = self.ran < self.report.required
        settle(self.report, forward=self.forward)
        if self.path is not None:
            self.path.write_text(self.report.to_json(), encoding="utf-8")
        if self.problem and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        from refnn.report.words import headline, share

        terminalreporter.section("refnn")
        terminalreporter.line(f"{headline(self.report)}; {share(self.report)}")
        if self.problem:
            terminalreporter.line(f"{self.problem}: this is a failure")


def _writable(name: str | None) -> Path | None:
    """The path, tried before anything runs. ValueError says that it cannot be written."""
    if name is None:
        return None
    try:
        (path := Path(name)).open("w").close()
    except OSError as e:
        raise ValueError(f"--refnn-report {name!r} cannot be written: {e.strerror}") from e
    return path


def of_config(config: pytest.Config) -> Run:
    """The run that the options describe. CollectError, which pytest shows without a traceback, says that there is no
    implementation."""
    if config.getoption("refnn_impl", default=None) is None:
        raise pytest.Collector.CollectError(
            "refnn.conformance needs --refnn-impl: torch, package.module:object, cmd:PROGRAM or lines:PROGRAM "
            "(and -p refnn.suite.pytest_plugin, if plugins are not loaded automatically)"
        )
    if RUN not in config.stash:
        config.stash[RUN] = Run(config)
    return config.stash[RUN]


RUN = pytest.StashKey[Run]()
