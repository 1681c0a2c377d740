"""`refnn`, and `python -m refnn`: the command line, or a sentence where it is not installed."""

import sys

from refnn.refusals import NotInstalled


def main() -> int:
    try:
        from refnn.cli import main as command
    except NotInstalled as e:
        print(f"refnn: {e}", file=sys.stderr)
        return 1
    return command()


if __name__ == "__main__":
    sys.exit(main())
