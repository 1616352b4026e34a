"""`make reach`: plays every row, prints it, and writes docs/reach.md."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.netns.lab import table
from tests.netns.lab.namespaces import why_not
from tests.netns.lab.reach import Outcome, play
from tests.netns.lab.rows import ROWS

DOCUMENT = Path(__file__).parents[3] / "docs" / "reach.md"
MARK = "<!-- measured by `make reach` -->\n"


def main() -> int:
    reason = why_not()
    if reason is not None:
        print(f"make reach: {reason}", file=sys.stderr)
        return 1
    outcomes: list[Outcome] = []
    for row in ROWS:
        with tempfile.TemporaryDirectory() as folder:
            outcomes.append(play(row, Path(folder)))
        print(table.plain(outcomes[-1]), flush=True)
    failed = [outcome.row.name for outcome in outcomes if outcome.error is not None]
    if failed:
        print(f"These did not connect: {', '.join(failed)}", file=sys.stderr)
        return 1
    head, mark, rest = DOCUMENT.read_text().partition(MARK)
    _, end, tail = rest.partition(MARK)
    DOCUMENT.write_text(head + mark + "\n" + table.markdown(outcomes) + "\n" + end + tail)
    return 0


if __name__ == "__main__":
    sys.exit(main())
