"""Writes `fairness.csv` beside itself: right implementations against the oracle, 2,000 cases each, 200 of networks.

Run it by hand when a contract or a check changes: `python docs/make_fairness.py`. It needs PyTorch and takes
about forty minutes. With names of contracts after it, only those are run, and the others keep what is stored.
"""

import csv
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the arrays are small
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "testing"))

from right_kernels import VERSIONS  # noqa: E402

from refprune import testing  # noqa: E402

CASES = 2000
OF_NETWORKS = 200  # their definitions are slow
NETWORKS = ("hvp", "hessian", "gauss-newton", "per-sample-gradients", "newton-cg", "snip", "prospr", "grasp")


def cell(name, contract):
    """`failed / undecided / worst share of a bound` of one version; empty where it means nothing."""
    version = VERSIONS[name]
    if not version.serves(contract):
        return ""
    cases = OF_NETWORKS if contract in NETWORKS else CASES
    report = testing.run(
        version.implementation(contract),
        contract,
        examples=cases,
        dtype=version.dtype,
        arrays=version.arrays,
        isolate=False,
    )
    outcomes = list(report.cases.values())
    assert len(outcomes) == cases, f"{contract} ran {len(outcomes)} cases"
    shares = [share for _, _, _, _, share in report.summary() if share is not None]
    worst = f"{max(shares):.2f}" if shares else "-"
    return f"{outcomes.count('fail')} / {outcomes.count('undecided')} / {worst}"


def main() -> None:
    """Run every version of the contracts that are asked for, and store the table."""
    path = Path(__file__).parent / "fairness.csv"
    asked, rows, new = sys.argv[1:] or list(testing.contracts), {}, {}
    with ProcessPoolExecutor() as pool:
        found = {
            (contract, name): pool.submit(cell, name, contract) for contract in asked for name in VERSIONS
        }
        for contract in asked:
            new[contract] = [contract, *(found[contract, name].result() for name in VERSIONS)]
            print(*new[contract], sep=", ", flush=True)
    if sys.argv[1:]:
        with path.open(newline="") as file:
            rows = {row[0]: row for row in csv.reader(file)}
    rows |= new
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["contract", *VERSIONS])
        writer.writerows(rows[contract] for contract in testing.contracts if contract in rows)


if __name__ == "__main__":
    main()
