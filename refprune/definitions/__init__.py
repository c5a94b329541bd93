"""The definitions: each method once, straight from the paper.

They are short, slow and obvious: plain loops, `inv` and `solve`, no tricks. They run on float arrays and on
object arrays of `fractions.Fraction`, where every answer is exact. `refprune.methods` holds the fast forms;
tests hold the two to each other. Counts are numbers of weights (or groups, or blocks) to prune. The inputs
must be valid: definitions do not check them, methods do.
"""

from refprune.definitions.allocation import row_counts
from refprune.definitions.best_support import best_support
from refprune.definitions.exact_obs import exact_obs, exact_obs_blocks, exact_obs_nm
from refprune.definitions.masks import nm_mask, topk_mask
from refprune.definitions.obs import obs, obs_nm
from refprune.definitions.obs_by_resolving import obs_by_resolving
from refprune.definitions.obs_groups import obs_groups
from refprune.definitions.one_shot import magnitude, obd, wanda
from refprune.definitions.optimal_weights import optimal_weights

__all__ = [
    "best_support",
    "exact_obs",
    "exact_obs_blocks",
    "exact_obs_nm",
    "magnitude",
    "nm_mask",
    "obd",
    "obs",
    "obs_by_resolving",
    "obs_groups",
    "obs_nm",
    "optimal_weights",
    "row_counts",
    "topk_mask",
    "wanda",
]
