"""The pages in Chromium: filters and links work, nothing overlaps at any width, and axe finds nothing to object to."""

import math
import os
import shutil
from importlib.util import find_spec

import pytest

from refnn.report import Finding, Report, Result

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = [
    *([] if find_spec("playwright") else ["the package playwright"]),
    *([] if find_spec("axe_playwright_python") else ["the package axe-playwright-python"]),
    *([] if CHROMIUM else ["a browser (chromium)"]),
]
# Where a browser is promised, as in CI, its absence is a failure: a check that never runs is none.
PROMISED = os.environ.get("REFNN_BROWSER") == "1"
QUIET = "--disable-background-networking --disable-component-update --disable-sync --no-first-run --disable-gpu"
WIDTHS = (360, 800, 1440)

pytestmark = [
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(bool(MISSING) and not PROMISED, reason=f"pages are not opened: {' and '.join(MISSING)} missing"),
]


def report(ok=False):
    """Many ops in two dtypes, findings of each verdict, long names, notes, and numbers of every length."""
    r = Report({"subject": "torch 2.13.0+cpu", "dtype": "float32, float64", "model": "float32@torch-cpu"})
    r.header["notes"] = [f"worst case end to end of {'digits/' * 20}{i}: median radius 7.8e-05" for i in range(43)]
    verdicts = ("exact", "ok", "convention", "suspect", "explained", "violation", "special", "error")
    for i in range(24):
        op, verdict = f"op{i}_with_a_long_name_{'x' * i}", verdicts[i % 8]
        for dtype in ("float32", "float64"):
            for what in ("output", "grad[weight]"):
                place = (f"{op}/{dtype}/normal/x=3x4/random/{i}", op, dtype, "normal", what)
                ratio = 0.9999999999999996 if i % 3 else math.nextafter(0.3, 1)
                counts = {"exact": 3 * 10**i % 10**9, "ok": 9, "out_of_scope": i % 2, verdict: 2}
                r.results.append(Result(*place, counts, ratio, {-b: 7 * b for b in range(1, 12)}))
                if verdict not in r.accept:
                    numbers = {"got": 0.1 + 0.2, "expected": -5e-324, "allowed": 1.2345678901234567e-8, "error": 0.3}
                    numbers |= {"ratio": 10.0**i, "ulps": 3.7e9} if verdict != "special" else {"got": math.nan}
                    numbers = {} if verdict == "error" else numbers
                    replay = f"import refnn; print(refnn.check({op!r}, inputs=refnn.case({place[0]!r})))"
                    more = {"message": "raised ValueError: no", "inputs": {"x": 1 / 3}, "replay": replay}
                    r.findings.append(Finding(*place, verdict, index=(1, 2), **numbers, **more))
    known = sorted({f.case for f in r.findings})
    r.expected = dict.fromkeys(known if ok else known[:9], "PyTorch rounds y first")
    return r


@pytest.fixture(scope="module")
def browser():
    assert not MISSING, f"REFNN_BROWSER=1 promises a browser, and {' and '.join(MISSING)} is missing"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *QUIET.split()])
        yield found
        found.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages by name, as files: there is no server."""
    folder = tmp_path_factory.mktemp("pages")
    from derivations import page as errata

    texts = {"bad": report().to_html(), "good": report(ok=True).to_html()}
    texts["errata"] = errata.page_html(errata.page())
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in texts}


@pytest.fixture
def open_page(browser, pages):
    """Opens a page; what the console said and what was asked of a network ends the test."""
    contexts, said = [], []

    def opened(name, width=1440, scheme="light", **more):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: said.append(f"console: {m.text}"))
        page.on("pageerror", lambda e: said.append(f"error: {e}"))
        page.on("request", lambda q: None if q.url.startswith(("file:", "data:")) else said.append(f"asks {q.url}"))
        page.goto(pages[name])
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not said


# Text that lies on other text, runs out of its box, or makes the page scroll sideways. Text that is cut off by a box
# that scrolls is measured where it can be seen.
MEASURE = """() => {
  const found = [], boxes = [];
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) found.push(`the page is ${wide} wide`);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, at = node.parentElement;
    if (!node.data.trim() || !at.checkVisibility({contentVisibilityAuto: true, visibilityProperty: true})) continue;
    if (at.closest("script, style, option, .unseen, math, svg")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    let clip = {left: 0, right: innerWidth, top: -Infinity, bottom: Infinity};
    for (let e = at; e; e = e.parentElement) {
      const style = getComputedStyle(e);
      if (style.overflowX !== "visible" && e !== document.documentElement && e !== document.body) {
        const b = e.getBoundingClientRect();
        clip = {left: Math.max(clip.left, b.left), right: Math.min(clip.right, b.right),
                top: Math.max(clip.top, b.top), bottom: Math.min(clip.bottom, b.bottom)};
      }
      if (e === at) continue;
    }
    for (const r of range.getClientRects()) {
      const b = {left: Math.max(r.left, clip.left), right: Math.min(r.right, clip.right),
                 top: Math.max(r.top, clip.top), bottom: Math.min(r.bottom, clip.bottom), text: node.data.trim()};
      if (b.right - b.left > 1 && b.bottom - b.top > 1) boxes.push({...b, sticky: !!at.closest(".op")});
      if (r.right > clip.right + 1 && clip.right === innerWidth) found.push(`out of the page: ${node.data.trim()}`);
    }
  }
  boxes.sort((a, b) => a.top - b.top);
  for (let i = 0; i < boxes.length; i++)
    for (let j = i + 1; j < boxes.length && boxes[j].top < boxes[i].bottom - 1; j++) {
      const a = boxes[i], b = boxes[j];
      const over = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      const line = Math.min(a.bottom - a.top, b.bottom - b.top);
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && over > line / 3)
        found.push(`${a.text} | ${b.text}`);
    }
  return {found, boxes: boxes.length};
}"""


def measured(page):
    result = page.evaluate(MEASURE)
    assert result["boxes"] > 20, "nothing was measured"
    return result["found"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["bad", "good", "errata"])
def test_nothing_overlaps_and_nothing_runs_out(open_page, name, width):
    page = open_page(name, width)
    assert measured(page) == []
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    assert measured(page) == []


def test_the_measure_sees_what_overlaps_and_what_runs_out(open_page):
    page = open_page("bad", 800)
    page.evaluate("document.querySelector('.figures dd').style.marginBottom = '-1.2rem'")
    assert measured(page)
    page = open_page("bad", 800)
    page.evaluate("document.querySelector('h1').style.cssText = 'white-space: nowrap; width: 2000px; max-width: none'")
    assert any("wide" in f for f in measured(page))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "width"), [("bad", 360), ("bad", 1440), ("errata", 360), ("errata", 1440)])
def test_axe_finds_nothing(open_page, name, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(name, width, scheme, bypass_csp=True)
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    found = Axe().run(page).response
    told = [f"{v['id']}: {n['html'][:150]} {n.get('failureSummary')}" for v in found["violations"] for n in v["nodes"]]
    assert found["passes"], "axe checked nothing"
    assert not told, "\n".join(told[:10])


@pytest.mark.parametrize("width", WIDTHS)
def test_the_first_screen_has_the_verdict_and_the_worst_finding(open_page, width):
    page = open_page("bad", width)
    assert page.locator(".worst li").count() == 3
    for what in ("h1", ".worst li:first-child dl"):
        box = page.locator(what).first.bounding_box()
        assert box["y"] + box["height"] <= 900, what
    broken = "all => all.filter(e => !e.textContent.includes(' ') && e.offsetHeight > 40).map(e => e.textContent)"
    assert page.eval_on_selector_all(".figures dd", broken) == [], "a number is broken over two lines"
    assert page.evaluate("document.querySelector('.notes').open") is False


def visible(page, what):
    return page.locator(f"{what}:visible").count()


def test_filters_and_search_choose_ops_and_findings(open_page):
    page = open_page("bad")
    rows, cards = ".matrix tbody tr", "details.finding"
    every = (visible(page, rows), visible(page, cards), visible(page, ".page"))
    assert every[0] == every[2] == 24 and every[1] > 20
    page.get_by_label("Op", exact=True).fill("OP1_")
    assert (visible(page, rows), visible(page, ".page"), visible(page, cards)) == (1, 1, 0)
    assert page.locator("#shown").inner_text().startswith("1 of 24 ops, 0 of ")
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("document.querySelectorAll('.matrix tbody tr:not([hidden])').length === 24")
    assert (visible(page, rows), visible(page, cards), visible(page, ".page")) == every
    page.get_by_label("Outcome").select_option("unexpected")
    states = page.eval_on_selector_all(f"{rows}:not([hidden])", "all => all.map(r => r.dataset.state)")
    assert set(states) == {"unexpected"} and 0 < len(states) < 24
    assert visible(page, "#expected details.finding") == 0 < visible(page, "#findings details.finding")
    page.get_by_label("Outcome").select_option("")
    page.get_by_label("Verdict").select_option("special")
    assert visible(page, rows) == 3
    kinds = page.eval_on_selector_all(f"{cards}:not([hidden])", "all => all.map(f => f.dataset.verdict)")
    assert set(kinds) == {"special"}
    page.get_by_label("Verdict").select_option("")
    page.locator("select[name=dtype]").select_option("float64")
    assert visible(page, ".matrix thead tr:first-child th") == 2
    assert visible(page, f"{rows}:first-child td") == 2


def test_the_page_of_an_op_stands_alone_and_leads_back(open_page):
    page = open_page("bad")
    page.locator(".matrix tbody tr th a").first.click()
    assert visible(page, ".page") == 1 and visible(page, ".page .more table") == 1
    assert visible(page, "h1") == visible(page, ".matrix") == 0
    assert measured(page) == []
    page.locator(".page:target .more li a").first.click()
    assert visible(page, "h1") == 1 and visible(page, "details.finding:target[open]") == 1
    page.go_back()
    page.get_by_role("link", name="Back to all ops").click()
    assert visible(page, ".matrix tbody tr") == 24


def test_a_link_to_what_is_filtered_away_shows_it(open_page):
    page = open_page("bad")
    page.get_by_label("Op", exact=True).fill("nothing of that name")
    assert visible(page, "details.finding") == 0
    page.locator(".worst li a").first.click()
    page.wait_for_selector("details.finding:target[open]")


def test_a_replay_line_is_copied(open_page):
    page = open_page("bad", permissions=["clipboard-read", "clipboard-write"])
    line = page.locator(".worst .replay code").first.inner_text()
    page.locator(".worst .copy").first.click()
    page.wait_for_function("document.querySelector('.worst .copy').textContent !== 'Copy'")
    chosen = page.evaluate("getSelection().toString()")
    assert line.startswith("import refnn") and line in (chosen, page.evaluate("navigator.clipboard.readText()"))


def test_the_keyboard_reaches_filters_cells_and_findings(open_page):
    page = open_page("bad")
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('.worst, .filters, .matrix, nav')?.className"))
    assert {"worst", "filters", "matrix"} <= reached
    page.locator("details.finding summary").nth(7).focus()
    before = page.locator("details.finding[open]").count()
    page.keyboard.press("Enter")
    assert page.locator("details.finding[open]").count() == before + 1


def test_without_scripts_everything_is_there_but_the_filters(open_page):
    page = open_page("bad", java_script_enabled=False)
    assert visible(page, ".filters") == visible(page, ".copy") == 0
    assert visible(page, ".matrix tbody tr") == 24
    page.locator(".matrix tbody tr th a").first.click()
    assert visible(page, ".page") == 1


def test_in_print_the_findings_stand_open(open_page, tmp_path):
    page = open_page("bad")
    page.emulate_media(media="print")
    assert visible(page, ".filters") == visible(page, "nav") == 0
    body = page.locator("details.finding:not([open]) .body").first
    assert body.evaluate("e => e.getBoundingClientRect().height") > 50
