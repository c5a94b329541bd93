"""What the page on WoodFisher says: its table bears out its text."""

import csv
from pathlib import Path

PAGES = Path(__file__).resolve().parents[1] / "docs"


def table():
    """Method -> for each sparsity (mean, spread) of the accuracy."""
    with (PAGES / "woodfisher.csv").open() as file:
        head, *lines = csv.reader(file)
    assert head[1:] == ["80 %", "90 %", "95 %", "98 %"]
    numbers = {
        name: [tuple(map(float, [*cell.split(" ± "), "0"][:2])) for cell in cells] for name, *cells in lines
    }
    return float(head[0].removeprefix("dense ")), numbers


def test_the_table_bears_out_the_text():
    dense, accuracy = table()
    assert dense > 87
    assert list(accuracy) == [
        "magnitude",
        "sum",
        "joint",
        "joint, swaps",
        "joint, 10 stages",
        "joint, 10 stages, first order",
    ]

    def above(better, worse, column):
        """By more than both spreads."""
        (a, s), (b, t) = accuracy[better][column], accuracy[worse][column]
        return a - s > b + t

    for column in (0, 1):
        assert above("sum", "magnitude", column)
    for column in (0, 1, 2):
        assert above("joint", "sum", column)
    for column in (1, 2, 3):
        assert above("joint, 10 stages", "joint", column)
    for better in ("joint, swaps", "joint, 10 stages"):
        for worse in ("magnitude", "sum"):
            assert above(better, worse, 3)
    first = "joint, 10 stages, first order"
    assert above(first, "joint, 10 stages", 3)
    assert not any(above(first, "joint, 10 stages", column) for column in (0, 1, 2))
