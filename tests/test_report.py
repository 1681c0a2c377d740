"""The written forms of a report: nothing is lost, nothing that fails looks as if it passed, nothing breaks the page."""

import base64
import hashlib
import html
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from refnn.report import CONFORMING, VERDICTS, Finding, Report, Result, join, summary
from refnn.report.header import environment
from refnn.report.html import LIMIT
from refnn.report.lines import Writer, document, dumps, loads
from refnn.report.svg import plot
from refnn.report.words import headline, hexadecimal, in_order, number

FORMS = ("to_html", "to_markdown", "to_findings", "to_junit")


def result(case="softmax/float32/normal/x=3x4/random/0", what="output", op="softmax", **changes):
    given = {
        "verdicts": {"exact": 3, "ok": 9},
        "worst_ratio": 0.3,
        "histogram": {-4: 7, -2: 2},
        "seconds": 0.25,
    } | changes
    return Result(case, op, "float32", "normal", what, **given)


def finding(case="softmax/float32/normal/x=3x4/random/0", verdict="violation", what="grad[x]", op="softmax", **changes):
    given = {"index": (1, 2), "got": 0.1, "expected": 0.25, "allowed": 1e-8, "error": 0.15, "ratio": 1.5e7, "ulps": 5e6}
    given |= {"equation": "challa2023 (16)", "inputs": {"x": 3.0, "g": -0.1}, "replay": "print(refnn.check('softmax'))"}
    return Finding(case, op, "float32", "normal", what, verdict, **given | changes)


def conforming():
    return Report(
        {"subject": "torch 2.13.0", "dtype": "float32", "model": "float32"}, [result(), result(what="grad[x]")]
    )


def failing():
    r = conforming()
    r.results.append(result("b/0", "grad[x]", verdicts={"ok": 4, "violation": 2}))
    r.findings.append(finding("b/0"))
    return r


def every_number():
    r = failing()
    r.findings.append(finding("c/0", "special", got=math.nan, expected=-math.inf, allowed=math.inf, error=math.nan))
    r.findings.append(finding("c/1", "special", got=-0.0, expected=5e-324, inputs={"x": math.nan, "g": -math.inf}))
    r.results.append(result("c/0", verdicts={"special": 1}, worst_ratio=math.nan))
    r.results.append(result("c/1", verdicts={"special": 1}, worst_ratio=0.1 + 0.2))
    r.accept = CONFORMING | {"suspect"}
    r.expected = {"c/1": "known upstream", "d/0": "with | pipe and\nline"}
    return r


def xml(report):
    return ET.fromstring(report.to_junit())


def problems(report):
    root = xml(report)
    return [
        t.get("name") for t in root.iter("testcase") if t.find("failure") is not None or t.find("error") is not None
    ]


# --- JSON Lines ------------------------------------------------------------------------------------------------------


def test_a_report_survives_the_round_trip():
    r = failing()
    r.expected, r.accept, r.partial = {"z/0": "because"}, CONFORMING | {"explained"}, True
    assert loads(dumps(r)) == r


def test_numbers_that_json_lacks_survive_as_valid_json():
    r = every_number()
    text = dumps(r)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    for line in text.splitlines():
        json.loads(line, parse_constant=refuse)
    back = loads(text)
    assert dumps(back) == text
    a, b = back.findings[-2:]
    assert math.isnan(a.got)
    assert (a.expected, a.allowed) == (-math.inf, math.inf)
    assert math.copysign(1, b.got) == -1
    assert b.expected == 5e-324
    assert math.isnan(b.inputs["x"])
    assert b.inputs["g"] == -math.inf
    assert math.isnan(back.results[-2].worst_ratio)
    assert back.results[-1].worst_ratio == 0.1 + 0.2
    assert (back.accept, back.expected) == (r.accept, r.expected)
    assert list(back.results[0].histogram) == [-4, -2]
    assert back.findings[0].index == (1, 2)


def test_numpy_values_in_a_header_are_written_as_plain_ones():
    header = {"subject": "s", "count": np.int64(3), "line": np.float32(0.5), "shape": (2, 3), "top": np.inf}
    assert loads(dumps(Report(header, [result()]))).header == {
        "subject": "s",
        "count": 3,
        "line": 0.5,
        "shape": [2, 3],
        "top": "inf",
    }


def test_the_lines_have_a_header_first_and_a_footer_with_totals_last():
    lines = [json.loads(line) for line in dumps(failing()).splitlines()]
    assert [x["kind"] for x in lines] == ["header", "result", "result", "result", "finding", "footer"]
    assert lines[0]["format"] == 1
    footer = lines[-1]
    assert (footer["ok"], footer["partial"], footer["verdict"], footer["elements"]) == (False, False, "violation", 30)


def test_without_a_footer_a_report_is_partial_and_not_ok():
    r = conforming()
    assert r.ok
    kept = dumps(r).splitlines(keepends=True)[:-1]
    back = loads("".join(kept))
    assert back.partial
    assert not back.ok
    assert back.results == r.results


def test_a_last_line_cut_short_is_dropped():
    lines = dumps(conforming()).splitlines(keepends=True)
    back = loads("".join(lines[:2]) + lines[2][:40])
    assert back.partial
    assert len(back.results) == 1


def broken(edit):
    lines = dumps(failing()).splitlines()
    edit(lines)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda x: x.insert(2, "{oops"), "line 3 .* not JSON"),
        (lambda x: x.insert(2, "[1]"), "line 3 "),
        (lambda x: x.insert(1, '{"kind": "result"}'), "line 2 .*verdicts"),
        (lambda x: x.insert(1, '{"kind": "riddle"}'), "line 2 .*'riddle'"),
        (lambda x: x.append('{"kind": "note", "text": "late"}'), "line 7 .*after the footer"),
        (lambda x: x.pop(0), "line 1 .*header first"),
        (lambda x: x.pop(2), "line 5 .*counts 3 results, but 2"),
        (lambda x: x.pop(4), "line 5 .*counts 1 findings, but 0"),
        (lambda x: x.__setitem__(0, x[0].replace('"format": 1', '"format": 99')), "line 1 .*format is 99"),
        (lambda x: x.__setitem__(1, x[1].replace('"exact"', '"splendid"')), "line 2 .*'splendid'"),
        (lambda x: x.__setitem__(1, x[1].replace('"exact": 3', '"exact": "3"')), "line 2 .*'3'"),
        (lambda x: x.__setitem__(4, x[4].replace('"got": 0.1', '"got": NaN')), "line 5 .*NaN is not JSON"),
        (lambda x: x.__setitem__(4, x[4].replace('"got": 0.1', '"got": "many"')), "line 5 .*'many'"),
        (lambda x: x.__setitem__(4, x[4].replace('"got": 0.1', '"gott": 0.1')), "line 5 .*gott"),
    ],
)
def test_an_unreadable_line_is_named_in_a_sentence(edit, sentence):
    with pytest.raises(ValueError, match=sentence):
        loads(broken(edit))


def test_an_empty_file_is_an_error():
    with pytest.raises(ValueError, match="line 1"):
        loads("")


# --- the writer ------------------------------------------------------------------------------------------------------


def test_the_writer_flushes_every_line_and_ends_in_a_footer(tmp_path):
    path = tmp_path / "run.jsonl"
    with Writer(path, {"subject": "s"}) as writer:
        assert json.loads(path.read_text())["kind"] == "header"
        part = failing()
        part.header["notes"] = ["the forward alone was checked"]
        part.expected = {"z/0": "because"}
        writer.add(part)
        assert loads(path.read_text()).partial
        assert len(loads(path.read_text()).results) == 3
    back = loads(path.read_text())
    assert not back.partial
    assert back.header == {"subject": "s", "notes": ["the forward alone was checked"]}
    assert (back.results, back.findings, back.expected) == (part.results, part.findings, part.expected)


def test_an_interrupted_writer_keeps_its_lines_and_says_that_it_is_partial(tmp_path):
    path = tmp_path / "run.jsonl"

    def interrupted():
        with Writer(path, {"subject": "s"}) as writer:
            writer.add(conforming())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    footer = json.loads(path.read_text().splitlines()[-1])
    assert footer["partial"] is True
    assert footer["ok"] is False
    assert len(loads(path.read_text()).results) == 2


def test_a_report_whose_lines_could_not_all_be_written_is_read_as_partial(tmp_path, monkeypatch):
    path = tmp_path / "run.jsonl"
    write = Writer._write
    room = iter([True, True, False])  # the header, one result, then no space; space again for the footer

    def full(self, line):
        if not next(room, True):
            raise OSError(28, "No space left on device")
        write(self, line)

    monkeypatch.setattr(Writer, "_write", full)
    with pytest.raises(OSError, match="No space"), Writer(path, {"subject": "s"}) as writer:
        writer.add(conforming())
    back = loads(path.read_text())
    assert back.partial
    assert len(back.results) == 1


# --- what counts as conforming ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", [v for v in VERDICTS if v not in CONFORMING])
def test_elements_that_do_not_conform_fail_the_report_even_without_a_finding(verdict):
    r = conforming()
    r.results.append(result("b/0", verdicts={"ok": 10**6, verdict: 1}))
    assert not r.ok
    assert r.unlisted == ["b/0"]
    assert "b/0" in str(r)
    assert problems(r) == ["b/0"]
    assert "b/0" in r.to_markdown()
    assert "does not conform" in r.to_html()


@pytest.mark.parametrize("order", [1, -1])
def test_a_ratio_that_is_nan_never_counts_as_conforming(order):
    results = [result("a/0"), result("b/0", worst_ratio=math.nan, verdicts={"ok": 4}), result("c/0")][::order]
    r = Report({"subject": "s"}, results)
    assert not r.ok
    assert math.isnan(r.worst_ratio)
    assert math.isnan(summary(r)[0]["worst_ratio"])
    assert problems(r) == ["b/0"]
    assert 'class="v-ok unexpected"' in r.to_html()
    assert not loads(dumps(r)).ok


def test_a_report_that_checked_nothing_is_not_ok_in_any_form():
    r = Report({"subject": "s"})
    assert not r.ok
    assert "othing was checked" in r.to_html()
    assert "othing was checked" in r.to_markdown()
    assert problems(r) == ["something was checked"]


def test_out_of_scope_elements_are_not_counted_as_checked():
    r = Report({"subject": "s"}, [result(verdicts={"ok": 80, "out_of_scope": 20})])
    assert r.elements == 80
    assert not r.ok
    assert problems(r) == ["at most 10% is out of scope"]
    assert "20.00%" in r.to_html()
    assert "softmax (20%)" in r.to_markdown()
    few = Report({"subject": "s"}, [result(verdicts={"ok": 95, "out_of_scope": 5})])
    assert few.ok
    assert not problems(few)


def test_a_network_may_be_out_of_scope_end_to_end_where_its_layers_are_not():
    whole = result("net/bfloat16/0", op="net end to end", verdicts={"ok": 1, "out_of_scope": 9})
    layers = result("net/bfloat16/0/fc", op="net stepwise")
    assert Report({"subject": "s"}, [whole]).out_of_scope == ["net end to end (90%)"]
    assert Report({"subject": "s"}, [whole, layers]).ok
    lost = result("net/bfloat16/0/fc", op="net stepwise", verdicts={"ok": 1, "out_of_scope": 9})
    assert Report({"subject": "s"}, [whole, lost]).out_of_scope == ["net stepwise (90%)"]


# --- all forms -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_partial_report_says_so(form):
    r = conforming()
    assert "interrupted" not in getattr(r, form)()
    r.partial = True
    assert "interrupted" in getattr(r, form)()


def test_the_title_of_a_partial_report_says_partial():
    r = conforming()
    assert "PARTIAL" not in r.to_html()
    r.partial = True
    assert re.search("<title>PARTIAL", r.to_html())
    assert r.to_markdown().startswith("# PARTIAL")


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_a_function_of_the_lines(form):
    r = every_number()
    assert getattr(loads(dumps(r)), form)() == getattr(r, form)()


@pytest.mark.parametrize("form", FORMS)
def test_each_form_shows_the_finding_and_the_line_that_replays_it(form):
    text = html.unescape(getattr(failing(), form)())
    assert "print(refnn.check('softmax'))" in text
    assert "6.7 digits lost" not in text
    assert "7.0 digits lost" in text


@pytest.mark.parametrize("form", FORMS)
def test_an_expected_finding_is_shown_with_its_reason_and_a_stale_one_too(form):
    r = failing()
    r.expected = {"b/0": "PyTorch rounds y first"}
    assert r.ok
    assert "PyTorch rounds y first" in getattr(r, form)()
    r.expected["softmax/float32/normal/x=3x4/random/0"] = "fixed upstream"
    assert not r.ok
    assert "fixed upstream" in getattr(r, form)()
    assert "no longer" in getattr(r, form)()


def test_the_headline_counts_what_is_wrong():
    assert headline(conforming()) == "torch 2.13.0 conforms"
    assert headline(failing()) == "torch 2.13.0 does not conform: 1 unexpected finding"


def test_the_findings_shown_first_are_of_different_kinds():
    many = [finding(f"a/{i}", "special", ratio=math.nan) for i in range(9)]
    other = [finding("b/0", ratio=2.0), finding("b/1", ratio=3.0)]
    assert [f.case for f in in_order([*other, *many])][:4] == ["b/1", "a/0", "b/0", "a/1"]


def test_what_is_most_surely_the_fault_comes_first():
    """A wrong number before one that is not finite, and both before a call that one parameter made fail."""
    found = [finding(v, v) for v in ("explained", "error", "suspect", "special", "violation")]
    assert [f.case for f in in_order(found)] == ["violation", "special", "error", "suspect", "explained"]


@pytest.mark.parametrize("x", [0.1, -1.5, 5e-324, 0.0, -0.0, 1e300, math.inf, float(np.float32(0.1))])
def test_hexadecimal_is_every_bit(x):
    assert float.fromhex(hexadecimal(x)).hex() == x.hex()


def test_a_finding_has_got_expected_and_allowed_on_lines_of_their_own():
    """No infinite ratio, no line without anything in it."""
    place = ("softmax/float32/smoke/x", "softmax", "float32", "smoke", "grad[x]", "violation", (1,))
    f = Finding(*place, got=0.5, expected=0.0, allowed=0.0, error=0.5, ratio=math.inf, ulps=math.inf)
    assert str(f) == (
        "violation: grad[x][1] of softmax/float32/smoke/x\n"
        "  got      0.5\n  expected 0.0\n  allowed  +/- 0 (nothing is allowed)"
    )
    more = replace(f, allowed=0.25, ratio=2.0, ulps=3.0, count=2, message="a note", equation="challa2023 (4)")
    assert str(more).endswith(" +/- 0.25 (2 times the allowance, 3 ulp)\n  equation challa2023 (4)\n  a note")
    assert str(more).splitlines()[0].endswith("/x, 2 elements alike")


def test_a_number_is_rounded_as_a_person_would():
    """What is 1 only when rounded does not look as if it were."""
    assert number(0.9996) == number(math.nextafter(1, 0)) == number(math.nextafter(1, 2)) == "1.00"
    assert number(1.0) == "1" and number(0.9994) == "0.999"
    assert number(123456.0) == "123,456"
    assert number(1.5) == "1.5"


# --- the page --------------------------------------------------------------------------------------------------------

HOSTILE = "<script>alert('x')</script>\"><img src=http://evil.example/x>"


def hostile():
    f = finding("h/0", op=HOSTILE, what=f"grad[{HOSTILE}]", name=HOSTILE, message=HOSTILE, equation=HOSTILE)
    f = replace(f, replay=HOSTILE, inputs={HOSTILE: 1.0}, family=HOSTILE)
    known = replace(f, case=f"{HOSTILE}/1")
    results = [result("h/0", op=HOSTILE, verdicts={"violation": 1}), result(known.case, op=HOSTILE)]
    return Report(
        {"subject": HOSTILE, HOSTILE: HOSTILE, "command": HOSTILE, "notes": [HOSTILE], "models": [{"name": HOSTILE}]},
        results,
        [f, known, replace(f, verdict="convention")],
        expected={known.case: HOSTILE},
    )


def test_the_page_escapes_everything():
    page = hostile().to_html()
    assert page.count("<script") == 1 and "alert(" not in page.partition("<script")[2].partition("</script>")[0]
    assert "<img" not in page
    assert "&lt;script&gt;" in page


def test_the_page_loads_nothing_from_elsewhere():
    page = every_number().to_html()
    assert not re.search(r"(?:src|href|action|data|srcset)\s*=\s*[\"']?\s*(?:https?:|//)", page)
    assert not re.search(r"url\(|@import|<link|<script\s|<iframe|<object", page)


def test_the_policy_of_the_page_admits_its_own_script_and_nothing_from_elsewhere():
    page = failing().to_html()
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy


def first_screen(page):
    return html.unescape(page[page.index('<header id="top">') : page.index('<section id="verdicts">')])


def test_the_first_screen_says_what_is_wrong_how_bad_and_how_to_see_it_again():
    r = failing()
    r.header["notes"] = [f"note number {i}" for i in range(43)]
    r.findings += [finding(f"b/{i}", ratio=2.0 + i, replay=f"again({i})") for i in range(4)]
    r.findings.append(finding("t/0", op="tanh", ratio=1.5, replay="again('tanh')"))
    r.results.append(result("t/0", "grad[x]", op="tanh", verdicts={"violation": 1}))
    page = r.to_html()
    top = first_screen(page)
    assert "does not conform: 6 unexpected findings" in top
    assert "The gradient of x is wrong" in top and "1.5e+07 times the allowance" in top
    for name, value in (("got", "0.1"), ("expected", "0.25"), ("allowed", "\u00b1\u20091e-08")):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in top
    assert "print(refnn.check('softmax'))" in top and "again('tanh')" in top, "another op comes before the same again"
    assert top.count("<li ") == 3 and "again(3)" in top and "again(2)" not in top
    assert "note number" not in top and page.count("note number") == 43 and "43 notes on this run" in page


def test_the_first_screen_shows_expected_differences_where_nothing_is_unexpected():
    r = failing()
    r.expected = {"b/0": "PyTorch rounds y first"}
    top = first_screen(r.to_html())
    assert "Nothing unexpected" in top and "PyTorch rounds y first" in top and "What is wrong" not in top
    assert "Nothing unexpected" not in first_screen(failing().to_html())
    assert "<li " not in first_screen(conforming().to_html())


def test_the_matrix_begins_with_what_needs_a_look():
    """Unexpected before expected before what conforms; among these the largest ratio first, and NaN before all."""
    r = failing()
    r.results += [result("m/0", op="a", worst_ratio=0.1), result("m/1", op="b", worst_ratio=0.9)]
    r.results += [result("m/2", op="known", verdicts={"special": 1}), result("m/3", op="nan", worst_ratio=math.nan)]
    r.findings.append(finding("m/2", "special", what="output", op="known"))
    r.expected = {"m/2": "known"}
    rows = re.findall(r'<tr data-op="(\w+)" data-state="(\w+)"', r.to_html())
    states = [state for _, state in rows]
    assert states == ["unexpected", "unexpected", "expected", "conforms", "conforms"]
    assert [op for op, _ in rows] == ["softmax", "nan", "known", "b", "a"]


def test_each_op_has_a_page_of_its_own():
    r = failing()
    r.results.append(result("t/0", op="tanh"))
    page = r.to_html()
    for op in ("softmax", "tanh"):
        assert page.count(f'<article class="page" id="op-{op}"') == 1 and f'href="#op-{op}"' in page
    of = page[page.index('id="op-softmax"') :].partition("</article>")[0]
    assert "2 violation" in of and 'href="#u0"' in of
    assert 'href="#u0"' not in page[page.index('id="op-tanh"') :].partition("</article>")[0]


def test_traces_of_training_are_a_figure_of_the_page():
    """Also after they went through a file, whose JSON has no infinity; a run that diverged ends in one."""
    r = every_number()
    r.header["traces"] = {"digits": [2.5, 1.25, np.float64(0.5)], "too fast": [2.5, 40.0, math.inf]}
    for page in (r.to_html(), loads(r.to_json()).to_html()):
        (image,) = re.findall(r'<img src="data:image/svg\+xml;base64,([\w+/=]+)"', page)
        assert base64.b64decode(image).decode() == plot(r.header["traces"])
        assert page.count("too fast") == 0  # but in the image
    assert "<img" not in every_number().to_html()


def test_the_links_of_the_page_lead_somewhere():
    r = every_number()
    r.header["traces"] = {"digits": [2.5, 1.25]}
    r.results.append(result("c/9", what="grad[x]", op="tanh"))
    page = r.to_html()
    targets = re.findall(r'href="#([^"]+)"', page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(targets) > 5
    assert set(targets) <= set(ids)
    assert len(ids) == len(set(ids))


def test_the_page_is_balanced():
    page = every_number().to_html()
    for tag in ("details", "div", "table", "section", "dl", "figure", "svg", "span"):
        assert len(re.findall(f"<{tag}[ >]", page)) == page.count(f"</{tag}>"), tag


def test_the_page_shows_numbers_in_decimal_and_hexadecimal():
    page = failing().to_html()
    for x in (0.1, 0.25, 3.0):
        assert f"<td>{x!r}</td><td>{hexadecimal(x)}</td>" in page


def test_the_page_of_many_findings_stays_small_and_says_what_it_leaves_out():
    ops = [f"op{i}" for i in range(40)]
    results = [
        result(
            f"{ops[i % 40]}/{i}", ("output", "grad[x]")[i % 2], ops[i % 40], histogram={-b: i + b for b in range(30)}
        )
        for i in range(10_000)
    ]
    long = "x" * 3000
    findings = [finding(f"{ops[i % 40]}/{i}", op=ops[i % 40], message=long, replay=long) for i in range(500)]
    page = Report(
        {"subject": "s"}, results, findings, expected={f"op1/{i}": f"reason {i}" for i in range(41)}
    ).to_html()
    assert 20_000 < len(page.encode()) <= LIMIT
    shown = page.count('class="finding')
    left = sum(int(n.replace(",", "")) for n in re.findall(r"([\d,]+) findings? more left out", page))
    left += sum(int(n.replace(",", "")) for n in re.findall(r"; the worst \d+ are shown, ([\d,]+) are left out", page))
    assert shown
    assert left
    assert shown + left == 500


def test_a_cell_of_the_matrix_is_calm_only_if_it_conforms():
    r = failing()
    page = r.to_html()
    assert 'class="v-violation unexpected"' in page
    assert 'class="v-ok "' in page
    r.expected = {"b/0": "known"}
    assert 'class="v-violation expected"' in r.to_html()


@pytest.mark.parametrize("what", ["answer", "fc1"])
def test_a_finding_marks_the_cell_that_it_is_counted_in(what):
    """A whole answer, or what a network's layer returned, counts as an output."""
    place = ("relu/float32/normal/x", "relu", "float32", "normal")
    right = Result(*place, "grad[x]", {"ok": 3}, 0.5)
    wrong = Result(*place, what, {"error": 1})
    page = Report({"subject": "x"}, [right, wrong], [Finding(*place, what, "error", message="no")]).to_html()
    assert 'class="v-error unexpected"' in page and 'class="v-ok "' in page
    assert 'class="v-error expected"' not in page and 'class="v-ok unexpected"' not in page


def test_the_figure_gathers_what_lies_beyond_its_axis():
    r = Report(
        {"subject": "s"},
        [result(histogram={-1074: 3, 900: 1, -3: 5}), result("b/0", histogram={}, verdicts={"exact": 1})],
    )
    page = r.to_html()
    paths = re.findall(r'class="series[^>]* d="([^"]+)"', page)
    assert len(paths) == 1
    assert all(0 <= float(x) <= 300 for x in re.findall(r"[MH](-?[\d.]+)", paths[0]))
    assert "the leftmost all below" in page


# --- Markdown --------------------------------------------------------------------------------------------------------


def test_markdown_tables_keep_their_columns_whatever_is_in_them():
    r = failing()
    bad = "a|b `c` ``d`` <b>\nnext"
    r.findings.append(finding("b/0", replay=bad, message=bad, name=bad, inputs={"x|y": 1.0}))
    r.expected = {"e|/0": bad}
    r.results.append(result("e|/0", op="o|p"))
    text = r.to_markdown()
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block
    assert "<b>" not in re.sub(r"(`+).*?\1", "", text)


def test_markdown_says_how_many_findings_it_leaves_out():
    r = failing()
    r.findings += [finding("b/0") for _ in range(70)]
    assert "and 21 findings more" in r.to_markdown()


# --- JUnit -----------------------------------------------------------------------------------------------------------


def test_junit_has_a_suite_for_each_op_and_dtype_and_a_test_for_each_case():
    root = xml(failing())
    suite = root.find("testsuite[@name='softmax float32']")
    assert [t.get("name") for t in suite.iter("testcase")] == ["b/0", "softmax/float32/normal/x=3x4/random/0"]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors"), suite.get("skipped")) == (
        "2",
        "1",
        "0",
        "0",
    )
    assert suite.find("properties/property[@name='worst_ratio']").get("value") == "0.3"
    failure = suite.find("testcase[@name='b/0']/failure")
    assert "violation" in failure.get("message")
    assert "challa2023 (16)" in failure.text


def test_junit_skips_what_is_expected_and_calls_an_error_an_error():
    r = failing()
    r.expected = {"b/0": "known upstream"}
    r.findings.append(finding("c/0", "error", message="raised ValueError: no"))
    root = xml(r)
    assert root.find(".//testcase[@name='b/0']/skipped").get("message") == "known upstream"
    assert "raised ValueError" in root.find(".//testcase[@name='c/0']/error").get("message")
    assert root.get("errors") == "1"
    assert root.get("failures") == "0"


def test_junit_survives_characters_that_xml_cannot_hold():
    r = failing()
    r.findings.append(finding("b/\x00\x1b[0m", message="bell \x07, \ud800, <&>", op="\x01"))
    assert "bell ?" in ET.tostring(xml(r), encoding="unicode")


def stale():
    r = conforming()
    r.expected = {r.results[0].case: "fixed"}
    return r


def test_what_some_processors_show_may_be_missing():
    r = stale()
    (case,) = r.expected
    assert r.stale == [case] and not r.ok
    r.expected = {case: "on some processors: their kernels add up in 16 bits"}
    assert r.stale == [] and r.ok


def expected():
    r = failing()
    r.expected = {"b/0": "known"}
    return r


def partial():
    r = conforming()
    r.partial = True
    return r


@pytest.mark.parametrize(
    "make", [conforming, failing, every_number, stale, expected, partial, hostile, lambda: Report({})]
)
def test_junit_fails_exactly_if_the_report_does(make):
    assert bool(problems(make())) == (not make().ok)


# --- the rest --------------------------------------------------------------------------------------------------------


def test_the_json_document_holds_the_summary():
    data = json.loads(document(every_number()))
    assert data["ok"] is False
    assert data["summary"][0]["op"] == "softmax"
    assert data["findings"][1]["got"] == "nan"


def test_joined_reports_keep_everything():
    total = join([failing(), every_number()], {"subject": "both"})
    assert len(total.results) == len(failing().results) + len(every_number().results)
    assert total.expected == every_number().expected
    assert loads(dumps(total)).header == {"subject": "both"}


def test_the_environment_names_versions_and_imports_no_framework():
    found = environment()
    assert found["numpy"] == np.__version__
    assert found["threads"]["cores"] >= 1
    code = (
        "import sys; from refnn.report.header import environment; e = environment();"
        "assert 'torch' not in e and 'torch' not in sys.modules; import types;"
        "t = types.ModuleType('torch'); t.__version__ = '9.9'; t.get_num_threads = lambda: 3; sys.modules['torch'] = t;"
        "e = environment(); assert e['torch'] == '9.9' and e['threads']['torch'] == 3, e"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
