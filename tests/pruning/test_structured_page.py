"""What the page on smaller layers says: its table bears out its text."""

import csv
from pathlib import Path

PAGES = Path(__file__).resolve().parents[2] / "docs"


def test_where_the_others_make_up_for_what_goes_the_outputs_change_less():
    with (PAGES / "structured.csv").open() as file:
        none, *lines = csv.DictReader(file)
    assert none["output error"] == "0.0%"
    error = {
        (n["neurons removed"], n["chosen as"], n["method"]): float(n["output error"][:-1]) for n in lines
    }
    assert len(error) == 30
    for share in ("25%", "50%", "75%"):
        updated = [error[share, "columns", method] for method in ("ALPS", "OBS")]
        kept = [value for key, value in error.items() if key[0] == share and key[1:] not in UPDATED]
        assert len(kept) == 6
        assert 2 * max(updated) < min(kept)
        rows, columns = (
            [error[key] for key in error if key[:2] == (share, what)] for what in ("rows", "columns")
        )
        assert max(columns) < min(rows), "the page says: every choice of columns changes the outputs less"
        for refit in ("i-SpaSP with a refit", "i-SpaSP by norms, refit"):
            assert error[share, "columns", refit] < min(kept)
        assert error[share, "columns", "i-SpaSP by norms"] == error[share, "columns", "OBD"]


UPDATED = tuple(
    ("columns", name) for name in ("ALPS", "OBS", "i-SpaSP with a refit", "i-SpaSP by norms, refit")
)
