"""The frame of the command line: the app, its exit status, its error messages, and what the commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from refnn.refusals import NotInstalled, needed_by

if TYPE_CHECKING:
    from refnn.report import Report

CONFORMS, FAILED, DIFFERS, NOTHING, INTERRUPTED = 0, 1, 2, 3, 130

app = typer.Typer(
    help="Is my gradient right? Certified values, derived tolerances, named verdicts. The exit status is 0 if "
    "all conforms, 1 after an error, 2 if something does not conform, 3 if nothing was checked.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def example(*commands: str) -> str:
    """The end of a help text: commands as one types them."""
    return "\n".join(["\b", f"Example{'s' if len(commands) > 1 else ''}:", *(f"  {c}" for c in commands)])


# --- options of several commands, and what completes their values ----------------------------------------------------


def complete(kind: str) -> Callable[[], list[str]]:
    """What the shell proposes for a value of that kind, of which it shows those that begin as what was typed."""

    def names() -> list[str]:
        from refnn.formats import FORMATS
        from refnn.judging.families import NAMES
        from refnn.models import MODELS
        from refnn.ops import OPS
        from refnn.report import VERDICTS
        from refnn.report.profiles import PROFILES

        known = {
            "op": OPS,
            "dtype": FORMATS,
            "family": NAMES,
            "model": MODELS,
            "verdict": VERDICTS,
            "profile": PROFILES,
        }
        return list(known[kind])

    return names


OpName = Annotated[
    str, typer.Argument(metavar="OP", help="An op that `refnn ops` lists.", autocompletion=complete("op"))
]
Dtypes = Annotated[
    list[str] | None,
    typer.Option(
        "--dtype",
        metavar="DTYPE",
        help="A format, such as bfloat16; may be repeated.",
        autocompletion=complete("dtype"),
    ),
]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the random inputs.")]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="What it computes in, such as float32-ftz or tf32.",
        autocompletion=complete("model"),
    ),
]
Algorithm = Annotated[str, typer.Option(metavar="NAME", help="The declared algorithm to judge by.")]
Accept = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VERDICT",
        help="What conforms, too, for example explained; may be repeated.",
        autocompletion=complete("verdict"),
    ),
]
ProfileName = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="framework: all counts. kernel: special values stand apart. teaching: in words.",
        autocompletion=complete("profile"),
    ),
]
Xfails = Annotated[Path | None, typer.Option(metavar="FILE", help="Expected failures, a line each: ID  # reason.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON (conformance/schema/output.schema.json).")]


def _print_version(asked: bool) -> None:
    if asked:
        import refnn

        print(f"refnn {refnn.__version__}")
        raise typer.Exit


@app.callback(epilog=example("refnn check softmax --impl torch", "refnn check tanh --impl mymodule:tanh"))
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and exit.")
    ] = False,
) -> None:
    pass


class Failure(Exception):
    """What went wrong, in one sentence, and the exit status."""

    def __init__(self, sentence: str, code: int = FAILED) -> None:
        super().__init__(sentence)
        self.code = code


def main(args: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    given = list(sys.argv[1:] if args is None else args)
    try:
        code = app(given or ["--help"], prog_name="refnn", standalone_mode=False)
        sys.stdout.flush()
        return FAILED if not given else int(code or CONFORMS)
    except Failure as e:
        say(str(e))
        return e.code
    except NotInstalled as e:
        say(str(e))
        return FAILED
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads the output any more. The interpreter would fail again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as e:
        if not hasattr(e, "format_message"):  # what typer raises for wrong usage
            raise
        path = getattr(getattr(e, "ctx", None), "command_path", "refnn")
        say(f"{e.format_message()} (see: {path} --help)")
        return FAILED


def say(sentence: str) -> None:
    print(f"refnn: {sentence}", file=sys.stderr)


def tell(text: str) -> None:
    """Print a report, on a terminal in colour."""
    if not sys.stdout.isatty():
        print(text)
        return
    with needed_by("colour"):
        from rich.console import Console
        from rich.highlighter import RegexHighlighter
        from rich.theme import Theme

    class Words(RegexHighlighter):
        base_style = "refnn."
        highlights: ClassVar[list[str]] = [
            r"(?m)^(?!  )[^\n]*?(?P<wrong>does not conform|is not right|nothing was checked)",
            r"(?m)^(?!  )[^\n]*?: (?P<right>conforms)|^\S+ in \S+ (?P<right_>is right)",
            r"(?m)^  (?P<wrong_>(violation|special|error|explained|suspect)\b[^:\n]*):",
            r"(?m)^    (?P<got>got      .*)$",
            r"(?m)^    (?P<expected>expected .*)$",
            r"(?m)^    (?P<try_>try      .*)$",
            r"(?m)^    (?P<replay>replay   .*)$",
            r"(?m)^  \S.*?(?P<some>wrong in [\d,]+)",
        ]

    styles = {"wrong": "bold red", "wrong_": "bold red", "right": "bold green", "right_": "bold green", "got": "red"}
    styles |= {"expected": "green", "try_": "cyan", "replay": "dim", "some": "red"}
    theme = Theme({f"refnn.{name}": style for name, style in styles.items()})
    Console(theme=theme, highlighter=Words()).print(text, markup=False, emoji=False, soft_wrap=True)


def print_json(command: str, data: Mapping[str, Any]) -> None:
    """Print what a command found as JSON, and nothing else."""
    from refnn.report.lines import as_json

    print(as_json({"command": command, **data}))


def show(report: Report) -> None:
    """Print the summary as a table, then the report."""
    with needed_by("the summary"):
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

    from refnn.report import summary
    from refnn.report.words import number, worst_verdict

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("op", "dtype", "of"):
        table.add_column(name)
    table.add_column("elements", justify="right")
    table.add_column("worst verdict")
    table.add_column("worst ratio", justify="right")
    table.add_column("seconds", justify="right")
    unexpected = {(f.op, f.dtype) for f in report.unexpected}
    for row in summary(report):
        worst = worst_verdict(row["verdicts"])
        strange = worst not in report.accept and worst != "out_of_scope"
        known = strange and (row["op"], row["dtype"]) not in unexpected
        table.add_row(
            Text(row["op"]),
            row["dtype"],
            row["kind"],
            f"{row['elements']:,}",
            Text(worst + (" (expected)" if known else ""), style="yellow" if known else "bold red" if strange else ""),
            number(row["worst_ratio"]),
            f"{row['seconds']:.2f}",
        )
    # A pipe has no width, and its reader must get whole names.
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    tell(f"\n{report}")


def exit_status(report: Report) -> int:
    if not report.elements and not report.findings:
        return NOTHING
    return CONFORMS if report.ok else DIFFERS


def read_report(path: Path) -> Report:
    from refnn.report.lines import loads

    try:
        return loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise Failure(f"cannot read {str(path)!r}: {e.strerror}") from e
    except ValueError as e:  # UnicodeDecodeError too
        raise Failure(f"{str(path)!r}: {e}") from e


def write(path: Path, text: str) -> None:
    with writing(path):
        path.write_text(text, encoding="utf-8")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise Failure(f"cannot write {str(path)!r}: {e.strerror or e}; files already written are kept") from e


# --- what the commands share -----------------------------------------------------------------------------------------


def known_dtypes(dtypes: Sequence[str]) -> list[str]:
    from refnn.formats import FORMATS

    for name in dtypes:
        if name not in FORMATS:
            raise Failure(f"--dtype {name!r} is not one of {', '.join(FORMATS)}")
    return list(dict.fromkeys(dtypes))


@contextmanager
def sentence(*kinds: type[Exception]) -> Iterator[None]:
    """Show the message alone of an exception of these kinds: it says what is wrong with the call."""
    try:
        yield
    except kinds as e:
        raise Failure(str(e.args[0]) if e.args else str(e)) from e
