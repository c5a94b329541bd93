"""The oracle: contracts, verdicts, runs, and strategies for one's own tests.

The judge shares no code with the judged: checks, generated cases and known mistakes import the definitions
and the floors below; only `refprune.testing.reference` imports `refprune.methods`.
"""

from . import strategies
from .contract import Contract
from .contracts import contracts
from .judge import assert_pruned, verify
from .killmatrix import KillMatrix, kill_matrix
from .operators import Operator
from .report import Record, Report
from .running import replay_cases, run
from .verdict import Check, Verdict

__all__ = [
    "Check",
    "Contract",
    "KillMatrix",
    "Operator",
    "Record",
    "Report",
    "Verdict",
    "assert_pruned",
    "contracts",
    "kill_matrix",
    "replay_cases",
    "run",
    "strategies",
    "verify",
]
