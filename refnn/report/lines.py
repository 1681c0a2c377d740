"""JSON Lines: the written form of a report. Every other form is made from it.

    {"kind": "header", "format": 1, ...}      versions, models, seed, command: whatever the header holds
    {"kind": "result", ...}                   one output or gradient of one case
    {"kind": "finding", ...}                  one element, or one call, that a reader should look at
    {"kind": "expected", "case", "reason"}    why the findings of a case are expected
    {"kind": "skip", "case", "reason"}        why a case is not supported, or not all of it; "declared" if it was before
    {"kind": "note", "text"}                  what a reader must know about the run
    {"kind": "footer", ...}                   totals, verdict, and whether the run was cut short

Lines may come in any order between the header and the footer, and are flushed one by one, so that a run that dies keeps
what it has found. A file without a footer is a partial report. Numbers that JSON lacks are the strings "nan", "inf" and
"-inf"; in the header, which is for reading, they stay strings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from refnn.report import CONFORMING, FORMAT_VERSION, OUT_OF_SCOPE, VERDICTS, Finding, Report, Result, as_dict, summary

_FLOATS = {cls: frozenset(f.name for f in fields(cls) if f.type == "float") for cls in (Result, Finding)}
_NAMED = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


# --- writing ---------------------------------------------------------------------------------------------------------


def dumps(report: Report) -> str:
    """The report as JSON Lines; `loads` gives it back."""
    return "".join(f"{line}\n" for line in (_header(report.header), *_body(report), _footer(report)))


def document(report: Report) -> str:
    """The report as one JSON document: header, totals, summary by op, findings."""
    return as_json(described(report)) + "\n"


def as_json(data: Mapping[str, Any]) -> str:
    """The text of a JSON document; numbers that JSON lacks become strings."""
    return json.dumps(_plain(data), indent=1, allow_nan=False)


def described(report: Report) -> dict[str, Any]:
    """What `document` says."""
    return {
        "format": FORMAT_VERSION,
        "header": report.header,
        **_totals(report),
        "summary": summary(report),
        "expected": report.expected,
        "stale": report.stale,
        "findings": [as_dict(f) for f in report.findings],
    }


def _line(kind: str, data: Mapping[str, Any]) -> str:
    return json.dumps({"kind": kind, **_plain({k: v for k, v in data.items() if k != "kind"})}, allow_nan=False)


def _header(header: Mapping[str, Any]) -> str:
    return _line("header", {**header, "format": FORMAT_VERSION})


def _body(report: Report) -> Iterator[str]:
    for result in report.results:
        yield _line("result", as_dict(result))
    for finding in report.findings:
        yield _line("finding", as_dict(finding))
    for case, reason in report.expected.items():
        yield _line("expected", {"case": case, "reason": reason})
    for case, reason in report.skips.items():
        yield _line("skip", {"case": case, "reason": reason, "declared": case not in report.undeclared})


def _totals(report: Report) -> dict[str, Any]:
    return {
        "partial": report.partial,
        "ok": report.ok,
        "verdict": report.verdict,
        "accept": sorted(report.accept),
        "required": report.required,
        "passed": report.passed,
        "skipped": len(report.skips),
        "unsupported": report.unsupported,
        "cases": report.cases,
        "elements": report.elements,
        "results_written": len(report.results),
        "findings_written": len(report.findings),
        "worst_ratio": report.worst_ratio,
        "verdicts": {v: n for v in (*VERDICTS, OUT_OF_SCOPE) if (n := report.count(v))},
    }


def _footer(report: Report) -> str:
    return _line("footer", _totals(report))


def _plain(value: Any) -> Any:
    """`value` in what JSON has: NumPy scalars and sets included, no number that JSON lacks."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(v) for v in value)
    if isinstance(value, float) and not math.isfinite(value):
        return repr(float(value))
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return _plain(value.item()) if hasattr(value, "item") else str(value)


class Writer:
    """Writes a report while it comes into being.

        with Writer(path, header) as writer:
            writer.add(report_of_one_check)

    The header is written at once, each line is flushed, and the end writes the footer; where an exception went through,
    it says that the report is partial. `report` is what has been written. OSError where the file cannot be written.
    """

    def __init__(self, path: str | Path, header: dict[str, Any]) -> None:
        self.path = Path(path)
        self.report = Report({**header, "notes": list(header.get("notes", ()))})
        self._file: IO[str] | None = None

    def __enter__(self) -> Writer:
        self._file = self.path.open("w", encoding="utf-8", newline="\n")
        try:
            self._write(_header(self.report.header))
        except BaseException:
            self._file.close()
            raise
        return self

    def add(self, report: Report) -> None:
        """Append the results, findings, reasons and notes of one check; its header is left out."""
        notes = [n for n in report.header.get("notes", ()) if n not in self.report.header["notes"]]
        # Joined first: a footer after a failed write counts what the check found, and no reader takes less for all.
        self.report = self.report + report
        for text in notes:
            self.report.header["notes"].append(text)
            self._write(_line("note", {"text": text}))
        for line in _body(report):
            self._write(line)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        self.report.partial |= kind is not None
        try:
            self._write(_footer(self.report))
        finally:
            self._file.close()

    def _write(self, line: str) -> None:
        if self._file is None:
            raise ValueError(f"the writer of {self.path} is not open")
        self._file.write(line + "\n")
        self._file.flush()


# --- reading ---------------------------------------------------------------------------------------------------------


def loads(text: str) -> Report:
    """The report that a text holds. ValueError names the line that cannot be read, in one sentence.

    What a killed run leaves is read as far as it goes: without a footer the report is partial, and a last line that
    stops in the middle is dropped.
    """
    report = Report({})
    footer: dict[str, Any] | None = None
    lines = text.split("\n")
    cut = lines.pop()  # empty, unless the last line has no end
    if cut:
        try:
            json.loads(cut)
            lines.append(cut)
        except ValueError:
            pass
    started = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line, parse_constant=_refuse)
            kind = data.pop("kind")
            if not started and kind != "header":
                raise ValueError(f"it is a {kind!r}, expected the header first")
            if footer is not None:
                raise ValueError(f"it is a {kind!r} after the footer")
            if kind == "header" and not started:
                started, report.header = True, _read_header(data)
            elif kind == "result":
                report.results.append(_read(Result, data))
            elif kind == "finding":
                report.findings.append(_read(Finding, data))
            elif kind == "expected":
                report.expected[str(data["case"])] = str(data["reason"])
            elif kind == "skip":
                report.skips[str(data["case"])] = str(data["reason"])
                if not data.get("declared", True):
                    report.undeclared.add(str(data["case"]))
            elif kind == "note":
                report.header.setdefault("notes", []).append(str(data["text"]))
            elif kind == "footer":
                footer = data
                report.partial = bool(data["partial"])
                report.accept = frozenset(data["accept"])
                _same_number("results", data["results_written"], len(report.results), report.partial)
                _same_number("findings", data["findings_written"], len(report.findings), report.partial)
            else:
                raise ValueError(f"its kind is {kind!r}, expected result, finding, expected, skip, note or footer")
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            raise ValueError(f"line {number} of the report cannot be read: {_sentence(e)}") from e
    if not started:
        raise ValueError("line 1 of the report cannot be read: the file is empty, expected a header")
    if footer is None:
        report.partial, report.accept = True, CONFORMING
    return report


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON, expected the string {constant.lower().replace('infinity', 'inf')!r}")


def _read_header(data: dict[str, Any]) -> dict[str, Any]:
    version = data.pop("format", None)
    if version != FORMAT_VERSION:
        raise ValueError(f"its format is {version!r}, expected {FORMAT_VERSION}")
    return data


def _read(cls: type[Any], data: dict[str, Any]) -> Any:
    """A result or finding; no field may be unknown, and no verdict."""
    for name in _FLOATS[cls] & data.keys():
        data[name] = _number(name, data[name])
    if cls is Result:
        data["verdicts"] = {_verdict(v): _count(v, n) for v, n in data["verdicts"].items()}
        data["histogram"] = {int(b): _count(b, n) for b, n in data["histogram"].items()}
        data["scope"] = {str(why): _count(why, n) for why, n in data.get("scope", {}).items()}
    else:
        _verdict(data["verdict"])
        data["index"] = tuple(int(i) for i in data.get("index", ()))
        data["inputs"] = {n: _number(n, v) for n, v in data.get("inputs", {}).items()}
    return cls(**data)


def _number(name: str, value: Any) -> float:
    if isinstance(value, str) and value in _NAMED:
        return _NAMED[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} is {value!r}, expected a number or one of {', '.join(map(repr, _NAMED))}")
    return float(value)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"the count of {name!r} is {value!r}, expected an integer from 0 on")
    return value


def _verdict(name: str) -> str:
    if name not in VERDICTS and name != OUT_OF_SCOPE:
        raise ValueError(f"the verdict {name!r} is not one of {', '.join((*VERDICTS, OUT_OF_SCOPE))}")
    return name


def _same_number(what: str, said: int, read: int, partial: bool) -> None:
    # A complete report that lost a line must not pass for the whole; a partial one says already that it is not.
    if said != read and not partial:
        raise ValueError(f"the footer counts {said} {what}, but {read} lines of them stand above it")


def _sentence(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON ({error.msg} at column {error.colno})"
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    if isinstance(error, AttributeError):
        return "it is not a JSON object"
    return str(error).replace("__init__() ", "")
