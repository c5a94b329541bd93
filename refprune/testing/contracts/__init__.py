"""The registry: every contract by its name. One file for each family."""

from . import exact_obs, gram, masks, obs, one_shot, optimal_weights

_ALL = (
    masks.TOPK,
    masks.NM,
    gram.CONTRACT,
    *one_shot.CONTRACTS,
    obs.OBS,
    obs.OBS_GROUPS,
    exact_obs.EXACT,
    exact_obs.NM,
    exact_obs.BLOCKS,
    optimal_weights.CONTRACT,
)

contracts = {contract.name: contract for contract in _ALL}
