"""The tables of the ONNX backend suite: which cases ran on imported networks, and why the others did not.

Run from the root of the repository: `python docs/make_onnx_cases.py`. It needs the `onnx` package.
"""

import csv
import re
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

CASES, SUITES, LEFT_OUT = (HERE / f"onnx_{name}.csv" for name in ("cases", "suites", "left_out"))
HEADER = ["suite", "case", "outcome", "operator", "reason"]


def rows():
    """One row for each case of the suite."""
    from tests.interop.onnx_cases import cases, run

    return [[case.kind, case.name, *run(case)] for case in cases()]


def suites(found, version):
    """Counts for each suite; the header names the version of onnx."""
    kinds = list(dict.fromkeys(row[0] for row in found))
    count = Counter((row[0], row[2]) for row in found)
    table = [[kind, count[kind, "ran"], count[kind, "left out"]] for kind in kinds]
    return [[f"onnx {version}", "ran", "left out"], *table]


def left_out(found):
    """Counts for each operator and reason, with the sizes of the single case taken out."""
    counts = Counter((_any(*row[3:]), general(row[4])) for row in found if row[2] == "left out")
    return [["operator", "reason", "cases"], *([*key, n] for key, n in sorted(counts.items()))]


def _any(operator, reason):
    """The operator, or that it does not matter: the input is none that a network takes."""
    return "(any)" if reason.startswith("need an input of") or "with one input" in reason else operator


def general(reason):
    """A reason without the shape, the value or the name that one case has."""
    reason = re.sub(r"; got .*", "", reason, flags=re.DOTALL)
    reason = re.sub(r"the precision from \S+ to \S+", "the precision", reason)
    return re.sub(r"\([\d, -]+\)|\[.*?\]|'.*?'|\d+ > \d+", "...", reason)


def write(path, table):
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(table)


def main():
    import onnx

    found = rows()
    write(CASES, [HEADER, *found])
    write(SUITES, suites(found, onnx.__version__))
    write(LEFT_OUT, left_out(found))
    print(*(" ".join(map(str, row)) for row in suites(found, onnx.__version__)), sep="\n")


if __name__ == "__main__":
    main()
