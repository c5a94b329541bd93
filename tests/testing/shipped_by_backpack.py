"""Adapters over `backpack-for-pytorch`: `refprune check --adapter shipped_by_backpack --arrays torch`."""

from importlib.metadata import version

import torch
from backpack import backpack, extend
from backpack.extensions import BatchGrad, DiagHessian
from torch import nn

from refprune.interop import torch_module
from refprune.network import Network

NAME, VERSION = "backpack", version("backpack-for-pytorch")
CLAIMS = {"per-sample-gradients": {}}


def per_sample_gradients(layers, params, x, y, loss):
    """`BatchGrad`, whose rows are the samples' own gradients when the loss is summed."""
    weights, scale = _backward(BatchGrad(), layers, params, x, y, loss)
    return scale * torch.cat([w.grad_batch.reshape(len(x), -1) for w in weights], 1)


def hessian_diagonal(layers, params, x, y, loss):
    """`DiagHessian` of the summed loss, divided by the samples."""
    weights, scale = _backward(DiagHessian(), layers, params, x, y, loss)
    return scale * torch.cat([w.diag_h.reshape(-1) for w in weights]) / len(x)


def _backward(extension, layers, params, x, y, loss):
    """The parameters after a backward pass of the summed loss, and what it is to be multiplied with."""
    network = Network.from_dicts(layers)
    module = extend(torch_module(network, params))
    function = nn.CrossEntropyLoss if loss == "cross_entropy" else nn.MSELoss
    with backpack(extension):
        extend(function(reduction="sum"))(module(x), y).backward()
    weights = dict(module.named_parameters())
    return [weights[name] for name in network.shapes], 1.0 if loss == "cross_entropy" else 0.5
