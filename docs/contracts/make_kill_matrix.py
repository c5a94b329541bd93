"""Writes `kill_matrix.json` beside itself: for every contract, which check convicts which known mistake.

Run it by hand when a contract, a check or a mistake changes: `python docs/contracts/make_kill_matrix.py`.
"""

import json
from pathlib import Path

import numpy as np

from refprune import testing

EXAMPLES = 100


def main() -> None:
    """Run every mistake of every contract and store the counts."""
    answer = {}
    for name in testing.contracts:
        with np.errstate(all="ignore"):  # mistakes divide by zero; that is their affair
            matrix = testing.kill_matrix(name, EXAMPLES)
        answer[name] = {
            "examples": EXAMPLES,
            "mistakes": list(matrix.mistakes),
            "checks": list(matrix.checks),
            "counts": {
                mistake: {check: matrix.counts[mistake][check] for check in matrix.checks}
                for mistake in matrix.mistakes
            },
            "named": {mistake: bool(matrix.named[mistake]) for mistake in matrix.mistakes},
        }
        print(matrix)
    text = json.dumps(answer, indent=1)
    (Path(__file__).parent / "kill_matrix.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
