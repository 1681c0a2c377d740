"""The claims as tests: each holds, its mutants fail, its erratum is refuted; the ledger is whole, the page fresh."""

from __future__ import annotations

import html.parser
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import sympy

import refnn
from derivations import claims, decide, ledger, links, ops, page
from derivations.claims import Claim, claim
from derivations.decide import Undecided, same
from derivations.ledger import ERRATA, VERDICTS, items, sources

EVERY = sorted(set(ledger.claims().values()), key=lambda c: c.name)
SIZES = {"challa2023": 74, "challa2022": 29, "you2022": 45, "cnnmath": 29, "katsaros": 58}


@pytest.mark.system("S2", "S80")
@pytest.mark.parametrize("c", EVERY, ids=lambda c: c.name)
def test_the_claim_holds_and_its_mutants_fail(c: Claim) -> None:
    c.verify()
    c.verify_refuted()
    passed, tried = c.survivors()
    assert tried, f"{c.name} has no mutant"
    assert not passed, f"{c.name} does not notice: {', '.join(passed)}"


# --- the ledger ------------------------------------------------------------------------------------------------------


@pytest.mark.system("S80")
def test_no_item_is_lost() -> None:
    assert {s.key: len(s.items) for s in sources()} == SIZES
    assert len(items()) == sum(SIZES.values()) == 235, "an id occurs twice"


def test_the_counts_per_verdict() -> None:
    counts = sum(page.counts().values(), start=type(page.counts()["katsaros"])())
    print(dict(counts))
    assert set(counts) == set(VERDICTS) and counts.total() == 235


def test_every_item_has_a_claim_unless_nothing_is_stated() -> None:
    without = [i.id for i in items().values() if i.claim is None]
    assert all(items()[i].verdict == "not checkable" for i in without), f"{without} have no claim"
    assert all(i.claim for i in items().values() if i.reconstructed), "a reconstruction is not proved"


def test_every_claim_has_an_item() -> None:
    assert set(ledger.claims()) <= set(items()), f"{set(ledger.claims()) - set(items())} are not in the ledger"


@pytest.mark.parametrize("name", ledger.MODULES)
def test_every_function_of_a_form_is_a_claim(name: str) -> None:
    """What takes `says` and is public must have a ledger id; the decorator makes it a Claim."""
    module = importlib.import_module(f"derivations.{name}")
    for function in vars(module).values():
        if inspect.isfunction(function) and not function.__name__.startswith("_"):
            taken = list(inspect.signature(function).parameters)
            assert taken != ["says"], f"{name}.{function.__name__} has no ledger id"


@pytest.mark.usefixtures("scratch")
def test_a_claim_without_an_id_is_refused() -> None:
    with pytest.raises(ValueError, match="nameless has no ledger id"):

        @claim(printed=lambda: 1)
        def nameless(says):
            yield "one", 1, says()


@pytest.mark.parametrize("source", sources(), ids=lambda s: s.key)
def test_the_fields_fit_the_verdict(source: ledger.Source) -> None:
    assert source.key in ledger.KEYS and source.author and source.title and source.date
    for item in source.items:
        assert item.verdict in VERDICTS, f"{item.id}: {item.verdict!r} is no verdict"
        assert item.printed and item.place, f"{item.id} does not say what is printed, or where"
        assert bool(item.corrected) == (item.verdict in ERRATA), f"{item.id}: only errata are corrected"
        assert item.why or item.verdict == "holds", f"{item.id} does not say why"
        if item.claim is None:
            continue
        assert item.scope != "nothing", f"{item.id} does not say for what it is proved"
        assert bool(item.claim.corrected) == (item.verdict in ERRATA), f"{item.id}: verdict and claim differ"
        assert not item.claim.beyond or item.verdict == "holds under an assumption", f"{item.id} assumes nothing"


@pytest.mark.parametrize("item", [i for i in items().values() if i.definition], ids=lambda i: i.id)
def test_a_definition_is_carried_by_its_op(item: ledger.Item, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim runs the op that the ledger names."""
    ran, forward = set(), ops.forward

    def recorded(op: str, *inputs: Any, **params: Any) -> Any:
        ran.add(f"refnn.{op}")
        return forward(op, *inputs, **params)

    monkeypatch.setattr(ops, "forward", recorded)
    assert item.claim
    assert list(item.claim.cases(item.claim.form))
    assert item.definition in ran, f"{item.id} is carried by {item.definition}, but its claim runs {ran or 'no op'}"


# --- from mathematics to code ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("op", "equation"), links.required(), ids=lambda x: str(x))
def test_the_op_computes_what_its_docstring_cites(op: str, equation: str) -> None:
    linked = links.linked(op, equation)
    linked.verify()
    passed, tried = linked.survivors()
    assert tried and not passed, f"the link of {op} to {equation} does not notice: {', '.join(passed) or 'anything'}"


def test_no_link_is_left_over() -> None:
    unused = set(links.LINKS) - set(links.required())
    assert not unused, f"{sorted(unused)} are links to what no docstring cites"


@pytest.mark.parametrize(
    ("op", "equation", "sentence"),
    [
        ("softmax", "challa2023 (99)", "no item of derivations/ledger"),
        ("maxout", "katsaros (maxout)", "has no claim"),
        ("softmax", "challa2023 (8)", "does not compare"),
    ],
)
def test_a_citation_without_a_claim_is_named(op: str, equation: str, sentence: str) -> None:
    with pytest.raises(LookupError, match=sentence):
        links.linked(op, equation)


def test_a_changed_op_breaks_its_link(monkeypatch: pytest.MonkeyPatch) -> None:
    op = refnn.ops["softmax"]
    halved = refnn.Op(
        "softmax",
        op.forward_definition,
        lambda ar, g, y, x, *, axis=-1: op.vjp_definition(ar, g / 2, y, x, axis=axis),
        op.inputs,
        op.validate,
        op.variants,
    )
    monkeypatch.setattr(refnn, "ops", {**refnn.ops, "softmax": halved})
    with pytest.raises(AssertionError, match="softmax_vjp fails at"):
        links.linked("softmax", "challa2023 (5)").verify()


# --- the machinery notices -------------------------------------------------------------------------------------------


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "CLAIMS", {})


@pytest.mark.usefixtures("scratch")
def test_a_wrong_claim_is_refuted() -> None:
    @claim("x", printed=lambda v: v + 1)
    def successor(says):
        yield "2", 4, says(2)

    with pytest.raises(AssertionError, match="fails at 2: the truth is 4, the statement gives 3"):
        successor.verify()


@pytest.mark.usefixtures("scratch")
def test_an_erratum_that_passes_is_none() -> None:
    @claim("x", printed=lambda v: v * 2, corrected=lambda v: v + v)
    def double(says):
        yield "2", 4, says(2)

    with pytest.raises(AssertionError, match="no erratum"):
        double.verify_refuted()


@pytest.mark.usefixtures("scratch")
def test_a_claim_about_nothing_is_noticed() -> None:
    @claim("x", printed=lambda: 0)
    def zero(says):
        yield "zero", 0, says()

    assert set(zero.survivors()[0]) == {"sign", "factor"}


def test_nan_equals_nothing_and_what_is_open_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not same(float("nan"), float("nan")) and not same((1, float("nan")), (1, float("nan")))
    assert not same((1, 2), (1,)) and not same(1, (1,)) and not same(None, 0) and not same(True, 1)
    x = sympy.Symbol("x", real=True)
    assert same((x + 1) ** 2, x**2 + 2 * x + 1) and not same(x, x + 1)
    m, n = sympy.symbols("m n", integer=True, nonnegative=True)
    size, grid = sympy.Symbol("M", integer=True, positive=True), sympy.IndexedBase("X", real=True)
    rows, diagonal = (
        sympy.Sum(sympy.Sum(grid[at, n], (n, 0, size - 1)), (m, 0, size - 1)) for at in (m, n)
    )  # indices of nested sums must not be taken for each other
    assert same(rows, rows.subs(n, sympy.Symbol("l", integer=True, nonnegative=True))) and not same(rows, diagonal)
    monkeypatch.setattr(decide, "_proved", lambda e: False)
    with pytest.raises(Undecided):
        same((x + 1) ** 2, x**2 + 2 * x + 1)


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_committed_page_is_the_generated_one() -> None:
    committed = Path(page.__file__).with_name("ERRATA.md")
    assert committed.read_text(encoding="utf-8") == page.markdown(page.page()), "run: python -m derivations"


def test_counterexamples_can_be_read() -> None:
    for item in items().values():
        if item.claim and item.claim.counterexample:
            where, true, says = item.claim.counterexample
            line = f"{where}: {page.shown(true)}, not {page.shown(says)}"
            assert len(line) < 250, f"{item.id} has a counterexample that nobody will read: {line}"


def test_the_html_page_stands_alone() -> None:
    """Every formula is MathML without a leftover command, tags are closed, and nothing is fetched."""

    class Reader(html.parser.HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.formulas = 0
            self.text: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "link", "img", "iframe")
            self.formulas += tag == "math"
            if tag != "meta":
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

        def handle_data(self, data: str) -> None:
            self.text.append(data)

    blocks = page.page()
    reader = Reader()
    reader.feed(page.page_html(blocks))
    assert not reader.open
    # The contents say again where each statement to correct stands.
    places = [b.text.rpartition(": ")[0] for b in blocks if isinstance(b, page.Heading) and b.level == 4]
    assert places and reader.formulas == (page.markdown(blocks).count("$") + "".join(places).count("$")) // 2
    assert not [t for t in reader.text if "\\" in t], "a command that is not translated"


def test_the_html_page_has_contents_whose_links_and_counts_are_right() -> None:
    text = page.page_html(page.page())
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) == set(ids)
    contents = text.partition("<nav")[2].partition("</nav>")[0]
    wrong = [i for i in items().values() if i.verdict in ERRATA]
    assert f"Contents: {len(wrong)} statements to correct" in contents
    for verdict in ERRATA:
        n = sum(i.verdict == verdict for i in wrong)
        assert not n or f"<h3>{verdict.capitalize()} ({n})</h3>" in contents
    assert sum(map(int, re.findall(r"(\d+) to correct", contents))) == len(wrong)


def test_the_symbol_that_a_correction_changes_is_marked_and_no_other() -> None:
    printed, corrected = page._marked(*map(page._inline, (r"$\sum_j e^{a_{j,k}}$", r"$\sum_j e^{a_{j,m}}$")))
    marked = [re.findall(r'class="changed">([^<]+)<', text) for text in (printed, corrected)]
    assert marked == [["k"], ["m"]]
    assert printed.replace(' class="changed"', "") == page._inline(r"$\sum_j e^{a_{j,k}}$")
    same = page._inline("$x$")
    assert page._marked(same, same) == (same, same)
    assert "changed" not in "".join(page._marked(page._inline("$x y$"), page._inline("$u v w$")))
