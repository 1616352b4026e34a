"""docs/reach.md shows every row that is tested."""

from __future__ import annotations

from tests.netns.lab.__main__ import DOCUMENT, MARK
from tests.netns.lab.rows import ROWS
from tests.netns.lab.table import TITLES


def test_document_has_each_row_and_each_of_them_connects() -> None:
    table = DOCUMENT.read_text().split(MARK)[1].strip().splitlines()
    titles, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]

    assert titles == list(TITLES)
    assert [line[0] for line in lines] == [row.network for row in ROWS]
    assert {line[1] for line in lines} == {"yes"}
