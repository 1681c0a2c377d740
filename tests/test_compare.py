"""What changed between two reports, badges, and shares: nothing that got worse goes unsaid."""

from __future__ import annotations

import html
import json

import pytest

from refnn import cli
from refnn.report import CONFORMING, OUTPUTS, Finding, Report, Result
from refnn.report.badge import render as badge
from refnn.report.compare import compare
from refnn.report.lines import dumps, loads
from refnn.report.words import headline


def result(name, ratio=0.25, what="output", **verdicts):
    place = (f"relu/float32/normal/{name}", "relu", "float32", "normal", what)
    return Result(*place, verdicts or {"ok": 3}, ratio)


def finding(name, verdict="violation", message=""):
    return Finding(f"relu/float32/normal/{name}", "relu", "float32", "normal", "output", verdict, message=message)


def report(*results, findings=(), **header):
    return Report({"subject": "x", "dtype": "float32", "suite": "1", **header}, [*results], [*findings])


A = report(result("a"), result("b"), result("c"))


def test_nothing_changed():
    found = compare(A, A)
    assert not found.worse
    said = "x conforms; 3 of 3 required cases pass (100.0%)"
    assert str(found) == f"before: {said}\nnow: {said}\n3 results in common\nnothing changed"


@pytest.mark.parametrize(
    ("after", "kind", "says"),
    [
        (report(result("a"), result("b", violation=1), result("c")), "broken", "normal/b: ok, now violation"),
        (report(result("a"), result("b", ok=9, error=1), result("c")), "broken", "normal/b: ok, now error"),
        (report(result("a"), result("b")), "lost", "output of relu/float32/normal/c"),
        (report(result("a", 0.6), result("b"), result("c")), "larger", "0.25 of the allowance, now 0.6"),
        (report(result("a", float("nan")), result("b"), result("c")), "broken", "0.25 of the allowance, now NaN"),
        (report(result("a", 0.1), result("b"), result("c")), "smaller", "0.25 of the allowance, now 0.1"),
        (report(result("a", exact=3), result("b"), result("c")), "other", "normal/a: ok, now exact"),
        (report(result("a"), result("b"), result("c"), result("d")), "new", "normal/d: ok"),
        (report(result("a"), result("b"), result("c"), suite="2"), "header", "suite: 1 before, 2 now"),
    ],
)
def test_each_change_is_named(after, kind, says):
    found = compare(A, after)
    kinds = ("header", "broken", "mended", "other", "lost", "new", "larger", "smaller")
    assert [k for k in kinds if getattr(found, k)] == [kind]
    assert says in str(found)
    assert found.worse == (kind in ("broken", "lost"))
    back = compare(after, A)
    assert back.worse == (kind == "new")


def test_a_case_that_is_skipped_now_is_worse():
    after = report(result("a"), result("b"), result("c"))
    after.skips["relu/float32/normal/a"] = "no gradients"
    assert compare(A, after).worse
    assert "not supported: no gradients" in str(compare(A, after))


def test_what_was_accepted_in_one_run_alone_is_no_excuse():
    before, after = report(result("a")), report(result("a", explained=2))
    after.accept = CONFORMING | {"explained"}
    assert compare(before, after).worse


def test_reports_with_nothing_in_common_do_not_compare():
    assert compare(A, report(result("z"))).worse
    assert "nothing can be compared" in str(compare(A, report(result("z"))))


def test_compare_on_the_command_line(tmp_path, capsys):
    for name, r in (("a", A), ("b", report(result("a"), result("b", violation=1), result("c")))):
        (tmp_path / f"{name}.jsonl").write_text(dumps(r))
    a, b = str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")
    assert cli.main(["compare", a, a]) == 0
    assert cli.main(["compare", a, b]) == 2
    assert "no longer conforms (1):" in capsys.readouterr().out
    assert cli.main(["compare", b, a]) == 0
    assert cli.main(["compare", a, str(tmp_path / "c.jsonl")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


# --- shares and badges -----------------------------------------------------------------------------------------------


def test_the_denominator_is_what_was_required():
    r = report(result("a"), result("b"), result("c", violation=1), findings=[finding("c")], required=10)
    r.skips = {"relu/float32/normal/b": "no gradients", "relu/float32/normal/d": "no relu"}
    assert (r.passed, r.required) == (1, 10)
    assert "1 of 10 required cases pass (10.0%), 2 not supported" in str(r)
    assert json.loads(badge(r)) == {
        **{"schemaVersion": 1, "label": "refnn", "color": "red"},
        "message": "1 of 10, 1 failed, 2 not supported",
    }
    back = loads(dumps(r))
    assert back.skips == r.skips and back.passed == 1


def test_what_fails_as_expected_does_not_pass():
    r = report(result("a"), result("b", violation=1), findings=[finding("b")], required=2)
    r.expected = {"relu/float32/normal/b": "known"}
    assert r.ok and (r.passed, r.required) == (1, 2)
    assert "1 of 2 required cases pass (50.0%), 1 expected to fail" in str(r)
    assert json.loads(badge(r))["message"] == "1 of 2, 1 expected"
    assert json.loads(badge(r))["color"] == "yellow"


def test_what_is_accepted_stands_next_to_the_verdict():
    r = report(result("a", explained=2), findings=[finding("a", "explained")])
    r.accept = CONFORMING | {"explained"}
    assert headline(r) == "x conforms, where explained is accepted"
    assert "explained accepted" in badge(r)
    assert "conforms, where explained is accepted" in str(r)


@pytest.mark.parametrize("form", ["to_html", "to_markdown", "to_junit", "__str__"])
def test_what_is_waived_stands_next_to_the_verdict_in_every_form(form):
    """A verdict that is accepted, a class that is declared, failures that are expected, gradients not asked for."""
    r = report(result("a", explained=2), result("b", violation=1), findings=[finding("b")], algorithm="textbook")
    r.header |= {"results": OUTPUTS, "model": "float16-each-op", "required": 2}
    r.accept, r.expected = CONFORMING | {"explained"}, {"relu/float32/normal/b": "known"}
    text = html.unescape(getattr(r, form)())
    said = "in its outputs alone by the algorithm textbook, where explained is accepted, apart from expected findings"
    assert f"conforms {said}" in text
    assert "1 of 2 required cases pass (50.0%), 1 expected to fail" in text
    if form != "to_junit":
        assert "under model float16-each-op" in text


def test_nothing_checked_is_never_green():
    assert json.loads(badge(report())) == {
        **{"schemaVersion": 1, "label": "refnn"},
        **{"message": "nothing was checked", "color": "lightgrey"},
    }
    skipped = report(required=1)
    skipped.skips = {"relu/float32/normal/a": "no relu"}
    assert not skipped.ok and json.loads(badge(skipped))["color"] == "lightgrey"


@pytest.mark.parametrize("form", ["to_html", "to_markdown", "to_junit"])
def test_every_form_shows_skips_and_escapes_their_reasons(form):
    r = report(result("a"), required=2, implementation={"name": "<script>alert(1)</script>"})
    r.skips = {"relu/float32/normal/b": "<script>alert(1)</script>"}
    text = getattr(r, form)()
    assert "<script>alert(1)" not in text
    assert "alert(1)" in text
    if form != "to_junit":
        assert "1 of 2 required cases pass" in text


def test_a_badge_is_rendered_on_the_command_line(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text(dumps(A))
    assert cli.main(["render", str(tmp_path / "a.jsonl"), "--to", "badge"]) == 0
    assert json.loads((tmp_path / "a.badge.json").read_text())["message"] == "3 of 3"
