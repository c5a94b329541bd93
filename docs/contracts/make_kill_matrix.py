"""Writes `kill_matrix.json` beside itself: for every contract, which check convicts which known mistake.

Run it by hand when a contract, a check or a mistake changes: `python docs/contracts/make_kill_matrix.py`. With names
of contracts after it, only those are run, and the others keep what is stored.
"""

import json
import sys
from pathlib import Path

import numpy as np

from refprune import testing

EXAMPLES = 100


def main() -> None:
    """Run every mistake of the contracts that are asked for, and store the counts."""
    path = Path(__file__).parent / "kill_matrix.json"
    asked = sys.argv[1:] or list(testing.contracts)
    answer = {}
    for name in asked:
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
    if sys.argv[1:]:
        answer = json.loads(path.read_text()) | answer
    answer = {name: answer[name] for name in testing.contracts if name in answer}
    path.write_text(json.dumps(answer, indent=1) + "\n")


if __name__ == "__main__":
    main()
