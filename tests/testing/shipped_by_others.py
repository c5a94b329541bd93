"""Adapters over pruning that PyTorch ships: `refprune check --adapter shipped_by_others --arrays torch`."""

import torch
from torch import nn
from torch.ao.pruning import WeightNormSparsifier
from torch.nn.utils import prune

NAME, VERSION = "PyTorch", torch.__version__
CLAIMS = {"magnitude": {}, "magnitude-nm": {}}


def magnitude(weight, sparsity):
    """`torch.nn.utils.prune.l1_unstructured` on a copy with the strides of `weight`."""
    module = nn.Module()
    module.weight = nn.Parameter(weight.clone())
    prune.l1_unstructured(module, "weight", amount=sparsity)
    return module.weight.detach(), module.weight_mask.bool()


def magnitude_of_contiguous(weight, sparsity):
    """The same on a copy in C order."""
    return magnitude(weight.contiguous(), sparsity)


def magnitude_nm(weight, n, m):
    """`torch.ao.pruning.WeightNormSparsifier` with (1, m) blocks, each of them left with `n` weights."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    model[0].weight = nn.Parameter(weight.clone())
    sparsifier = WeightNormSparsifier(sparsity_level=1.0, sparse_block_shape=(1, m), zeros_per_block=m - n)
    sparsifier.prepare(model, [{"tensor_fqn": "0.weight"}])
    sparsifier.step()
    mask = model[0].parametrizations.weight[0].mask.bool()
    sparsifier.squash_mask()
    return model[0].weight.detach(), mask
