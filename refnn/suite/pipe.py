"""Text lines through pipes: the requests of `refnn gen`, and the report of `refnn verify -` on the answers.

refnn gen softmax --lines | ./mynn | refnn verify -
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from refnn.ids import CaseId
from refnn.implementations.protocol import PROTOCOL, Answer, line, parse_answer, read_results
from refnn.report import Finding, Report, Result
from refnn.suite.fixture import Fixture, request
from refnn.suite.options import Options
from refnn.suite.plan import FORMATS_HELD
from refnn.suite.read import Suite
from refnn.suite.run import header, judged, of_run, required, settle

MISSING = "was not answered"
LONGEST = 1 << 24  # the most bytes of an answer


@dataclass(frozen=True)
class Selection:
    """A selection of cases: ops by patterns separated by commas, families and ids. All run in the working format
    `dtype`, or each in its own. With `forward` only the outputs are asked for."""

    ops: str
    dtype: str | None = None
    families: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    forward: bool = False

    def words(self) -> dict[str, str]:
        """The selection as the words of a comment line."""
        return {
            "of": self.ops,
            "dtype": self.dtype or "*",
            "family": ",".join(self.families) or "*",
            **({"case": self.ids[0]} if self.ids else {}),
            "want": "y" if self.forward else "*",
        }

    @staticmethod
    def of_words(words: Mapping[str, str]) -> Selection:
        given = {k: None if v == "*" else v for k, v in words.items()}
        families = (given["family"] or "").split(",") if given["family"] else ()
        ids = (words["case"],) if "case" in words else ()
        return Selection(words["of"], given["dtype"], tuple(families), ids, given["want"] == "y")

    def cases(self, suite: Suite) -> list[tuple[Fixture, str]]:
        return required(suite, self.ops, self.dtype, self.families, self.ids)


# --- requests --------------------------------------------------------------------------------------------------------


def requests(suite: Suite, selection: Selection) -> list[str]:
    """The lines to send, without newlines. The first one is a comment that states the selection."""
    lines = [line(request(f, d, forward=selection.forward)) for f, d in selection.cases(suite)]
    words = {
        "suite": suite.version,
        **selection.words(),
        "cases": str(len(lines)),
        "longest": str(max((len(row) + 1 for row in lines), default=0)),
        "sha256": hashlib.sha256("".join(f"{row}\n" for row in lines).encode()).hexdigest(),
    }
    return [f"# refnn {PROTOCOL} " + " ".join(f"{k}={v}" for k, v in words.items()), *lines]


# --- answers ---------------------------------------------------------------------------------------------------------


def verify(
    suite: Suite,
    answers: Iterable[bytes],
    *,
    dtype: str | None = None,
    options: Options | None = None,
    expected: Mapping[str, str] | None = None,
) -> Report:
    """The report of the answers that a program wrote, line by line.

    The comment before the requests states the selection. If the program dropped it, all cases of the ops that occur in
    the answers count, in `dtype` or in the format of the answers. ValueError says that the requests were made from
    other fixtures.
    """
    rows, comment = [], None
    for raw in answers:
        text = raw.decode("utf-8", "replace").rstrip("\r\n")
        if text.startswith("# refnn "):
            comment = comment or text
        elif text.strip() and not text.startswith("#"):
            rows.append(text if len(raw) < LONGEST else f"{text[:100]} ERR more than {LONGEST} bytes in one line")
    options = options or Options()
    dtype = options.dtype(dtype)
    given = [_Row.read(text) for text in rows]
    selection = _inferred(suite, given, dtype) if comment is None else _stated(suite, comment)
    if dtype not in (None, selection.dtype):
        raise ValueError(f"--dtype is {dtype}, but the requests were made in {selection.dtype or 'that of each case'}")
    cases = selection.cases(suite) if selection.ops else []
    about = header("the program", {}, cases, suite, forward=selection.forward, options=options)
    total = Report(about, accept=options.accept)
    total.expected.update(of_run(expected or {}, cases))
    if comment is None:
        total.header["notes"].append(
            "the program dropped the comment with the selection: it was inferred from the answers"
        )
    _judge(total, given, cases, selection.forward, options)
    settle(total, forward=selection.forward)
    return total


@dataclass(frozen=True)
class _Row:
    """One answer as it came."""

    id: str
    bits: Mapping[str, str]
    skip: str | None
    error: str | None

    @staticmethod
    def read(text: str) -> _Row:
        try:
            return _Row(*parse_answer(text))
        except ValueError as e:
            return _Row(text.split()[0], {}, None, f"the answer cannot be read: {e}")


def _stated(suite: Suite, comment: str) -> Selection:
    """The selection that the comment states. ValueError says that it was made from other fixtures."""
    _, _, version, *items = comment.split()
    words = dict(item.split("=", 1) for item in items if "=" in item)
    if version != str(PROTOCOL) or not {"of", "dtype", "family", "want", "cases", "sha256"} <= words.keys():
        raise ValueError(f"the comment {comment[:100]!r} cannot be read, expected that of protocol {PROTOCOL}")
    try:
        selection = Selection.of_words(words)
        again = requests(suite, selection)[0]
    except LookupError as e:
        raise ValueError(f"the comment {comment[:100]!r} cannot be read: {e.args[0]}") from e
    if f"cases={words['cases']} " not in again or not again.endswith(f"sha256={words['sha256']}"):
        raise ValueError(
            f"the requests have the digest {words['sha256'][:16]} (suite {words.get('suite')}), those of the fixtures "
            f"here have {again[-64:][:16]} (suite {suite.version}): the requests were changed, or made from others"
        )
    return selection


def _inferred(suite: Suite, given: Sequence[_Row], dtype: str | None) -> Selection:
    """The ops that occur, and the working format in which most answers have the right length."""
    ops = sorted({CaseId.parse(r.id).op for r in given} & {op for op, _ in suite.entries})
    if not ops:
        return Selection("")
    pattern = ",".join(ops)
    bits = {r.id: r.bits for r in given}

    def misfit(candidate: str | None) -> tuple[int, int]:
        chosen = {f.id: request(f, d) for f, d in suite.select(pattern, candidate)}
        wrong = sum(i not in chosen or bool(read_results(chosen[i], b).errors) for i, b in bits.items() if b)
        return wrong, len(chosen.keys() - bits.keys())

    return Selection(pattern, dtype or min((None, *FORMATS_HELD), key=misfit))


def _judge(
    total: Report, given: Sequence[_Row], cases: Sequence[tuple[Fixture, str]], forward: bool, options: Options
) -> None:
    place = {f.id: i for i, (f, _) in enumerate(cases)}
    answered: dict[str, int] = {}
    last = -1
    for row in given:
        if row.id not in place:
            _complain(total, (row.id[:200], "", "", ""), "no requested case has this id")
            continue
        fixture, dtype = cases[place[row.id]]
        where = (fixture.id, fixture.op, dtype, fixture.family)
        if row.id in answered:
            _complain(total, where, "was answered twice")
            continue
        answered[row.id] = place[row.id]
        if place[row.id] < last:
            _complain(total, where, f"was answered after {cases[last][0].id}, which comes later: out of order")
        last = max(last, place[row.id])
        answer = Answer(skip=row.skip, errors=(row.error,) if row.error else ())
        if row.bits:
            answer = read_results(request(fixture, dtype, forward=forward), row.bits)
        part = judged(fixture, dtype, answer, forward=forward, options=options)
        total.results.extend(part.results)
        total.findings.extend(part.findings)
        total.skips.update(part.skips)
    total.header["answered"] = len(answered)
    for fixture, dtype in cases:
        if fixture.id not in answered:
            _complain(total, (fixture.id, fixture.op, dtype, fixture.family), MISSING)


def _complain(total: Report, where: tuple[str, str, str, str], message: str) -> None:
    total.results.append(Result(*where, "answer", verdicts={"error": 1}))
    total.findings.append(Finding(*where, "answer", verdict="error", message=message))
