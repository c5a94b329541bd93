"""The definitions: each method once, straight from the paper.

They are short, slow and obvious: plain loops, `inv` and `solve`, no tricks. They run on float arrays and on
object arrays of `fractions.Fraction`, where every answer is exact. `refprune.methods` holds the fast forms;
tests hold the two to each other. Counts are numbers of weights (or groups, or blocks) to prune. The inputs
must be valid: definitions do not check them, methods do.

Derivatives have several definitions, each a module with the same function names: `derivatives` (value, first and
second derivatives carried forward through any network), `one_hidden_layer` (by hand), `r_operator`,
`finite_differences`, `by_autograd`; `losses` are those of one sample. `unrolled` differentiates a training written out.
"""

from refprune.definitions import (
    by_autograd,
    derivatives,
    finite_differences,
    losses,
    one_hidden_layer,
    r_operator,
    unrolled,
)
from refprune.definitions.allocation import row_counts
from refprune.definitions.alps import alps, alps_nm
from refprune.definitions.best_support import best_support
from refprune.definitions.conjugate_gradient import conjugate_gradient
from refprune.definitions.cosamp import cosamp, cosamp_step
from refprune.definitions.exact_obs import exact_obs, exact_obs_blocks, exact_obs_nm
from refprune.definitions.fisher_inverse import fisher_inverse
from refprune.definitions.force import force, force_scores
from refprune.definitions.gram_conv import gram_conv
from refprune.definitions.grasp import grasp, grasp_scores
from refprune.definitions.htp import htp
from refprune.definitions.iht import iht, iht_step
from refprune.definitions.iobs import iobs, iobs_step
from refprune.definitions.ispasp import ispasp
from refprune.definitions.iterative_magnitude import iterative_magnitude, zhu_gupta
from refprune.definitions.masks import nm_mask, topk_mask
from refprune.definitions.newton_cg import newton_cg, newton_step
from refprune.definitions.obs import obs, obs_nm
from refprune.definitions.obs_by_resolving import obs_by_resolving
from refprune.definitions.obs_groups import obs_groups
from refprune.definitions.one_shot import magnitude, obd, wanda
from refprune.definitions.optimal_weights import optimal_weights
from refprune.definitions.prospr import prospr, prospr_scores
from refprune.definitions.random_pruning import random_pruning
from refprune.definitions.snip import snip, snip_scores
from refprune.definitions.snows import snows
from refprune.definitions.sosp import sosp, sosp_scores
from refprune.definitions.sparsegpt import sparsegpt, sparsegpt_nm, sparsegpt_weights
from refprune.definitions.synflow import synflow, synflow_scores
from refprune.definitions.woodfisher import (
    woodfisher,
    woodfisher_model,
    woodfisher_scores,
    woodfisher_weights,
)

__all__ = [
    "alps",
    "alps_nm",
    "best_support",
    "by_autograd",
    "conjugate_gradient",
    "cosamp",
    "cosamp_step",
    "derivatives",
    "exact_obs",
    "exact_obs_blocks",
    "exact_obs_nm",
    "finite_differences",
    "fisher_inverse",
    "force",
    "force_scores",
    "gram_conv",
    "grasp",
    "grasp_scores",
    "htp",
    "iht",
    "iht_step",
    "iobs",
    "iobs_step",
    "ispasp",
    "iterative_magnitude",
    "losses",
    "magnitude",
    "newton_cg",
    "newton_step",
    "nm_mask",
    "obd",
    "obs",
    "obs_by_resolving",
    "obs_groups",
    "obs_nm",
    "one_hidden_layer",
    "optimal_weights",
    "prospr",
    "prospr_scores",
    "r_operator",
    "random_pruning",
    "row_counts",
    "snip",
    "snip_scores",
    "snows",
    "sosp",
    "sosp_scores",
    "sparsegpt",
    "sparsegpt_nm",
    "sparsegpt_weights",
    "synflow",
    "synflow_scores",
    "topk_mask",
    "unrolled",
    "wanda",
    "woodfisher",
    "woodfisher_model",
    "woodfisher_scores",
    "woodfisher_weights",
    "zhu_gupta",
]
