"""Adapters over `curvlinops-for-pytorch`: `refprune check --adapter shipped_by_curvlinops --arrays torch`."""

from importlib.metadata import version

import torch
from curvlinops import GGNLinearOperator, HessianLinearOperator
from torch import nn

from refprune.interop import torch_module
from refprune.network import Network

NAME, VERSION = "curvlinops", version("curvlinops-for-pytorch")
CLAIMS = {"hvp": {}, "hessian": {}, "gauss-newton": {}}


def hvp(layers, params, x, y, loss, v):
    """`HessianLinearOperator` times a vector."""
    operator, scale = _operator(HessianLinearOperator, layers, params, x, y, loss)
    return scale * (operator @ v)


def hessian(layers, params, x, y, loss):
    """`HessianLinearOperator` times the identity."""
    operator, scale = _operator(HessianLinearOperator, layers, params, x, y, loss)
    return scale * (operator @ torch.eye(operator.shape[1], dtype=x.dtype))


def gauss_newton(layers, params, x, y, loss):
    """`GGNLinearOperator` times the identity."""
    operator, scale = _operator(GGNLinearOperator, layers, params, x, y, loss)
    return scale * (operator @ torch.eye(operator.shape[1], dtype=x.dtype))


def hvp_with_own_silu(layers, params, x, y, loss, v):
    """`hvp`, with SiLU written as a product."""
    operator, scale = _operator(HessianLinearOperator, layers, params, x, y, loss, own_silu=True)
    return scale * (operator @ v)


def hessian_with_own_silu(layers, params, x, y, loss):
    """`hessian`, with SiLU written as a product."""
    operator, scale = _operator(HessianLinearOperator, layers, params, x, y, loss, own_silu=True)
    return scale * (operator @ torch.eye(operator.shape[1], dtype=x.dtype))


class OwnSiLU(nn.Module):
    """SiLU without PyTorch's function of that name."""

    def forward(self, x):
        return x * torch.sigmoid(x)


def _operator(kind, layers, params, x, y, loss, own_silu=False):
    """The operator, and what it is to be multiplied with: `MSELoss` is the mean over samples and outputs."""
    network = Network.from_dicts(layers)
    module = torch_module(network, params)
    for path, part in list(module.named_modules()) if own_silu else []:
        if isinstance(part, nn.SiLU):
            module.set_submodule(path, OwnSiLU())
    weights = dict(module.named_parameters())
    weights = [weights[name] for name in network.shapes]
    if loss == "cross_entropy":
        return kind(module, nn.CrossEntropyLoss(), weights, [(x, y)]), 1.0
    return kind(module, nn.MSELoss(), weights, [(x, y)]), y.shape[1] / 2
