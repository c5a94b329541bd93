"""The registry: every contract by its name. One file for each family."""

from . import (
    alps,
    cg,
    cosamp_step,
    exact_obs,
    exact_obs_blocks,
    exact_obs_nm,
    gram,
    gram_conv,
    iht_step,
    iobs,
    iobs_step,
    ispasp,
    masks,
    networks,
    obs,
    one_shot,
    optimal_weights,
    sparsegpt,
    sparsegpt_nm,
)

_ALL = (
    masks.TOPK,
    masks.NM,
    gram.CONTRACT,
    gram_conv.CONTRACT,
    *one_shot.CONTRACTS,
    obs.OBS,
    obs.OBS_GROUPS,
    exact_obs.CONTRACT,
    exact_obs_nm.CONTRACT,
    exact_obs_blocks.CONTRACT,
    optimal_weights.CONTRACT,
    sparsegpt.CONTRACT,
    sparsegpt_nm.CONTRACT,
    alps.CONTRACT,
    cg.CONTRACT,
    iht_step.CONTRACT,
    cosamp_step.CONTRACT,
    iobs_step.CONTRACT,
    iobs.CONTRACT,
    ispasp.CONTRACT,
    *networks.CONTRACTS,
)

contracts = {contract.name: contract for contract in _ALL}
