r"""Structured pruning: a neuron or filter goes as a group of input columns of the next layer, its own row with it.

Without its unit B the next layer loses at least :math:`\frac12 \mathrm{tr}\, W_{:B} ([G^{-1}]_{BB})^{-1} W_{:B}^T`,
when the columns that are left make up for it in every row. Seen from the layer that produces the unit there is
nothing to make up with: its rows do not share a weight, and a row by itself costs
:math:`\frac12 w_r G w_r^T` whatever the others do.
"""

from dataclasses import replace

import numpy as np

from refprune.arrays import to_numpy
from refprune.network import Network
from refprune.patterns import Groups

from .units import Link, consumers, silence


def with_units(network: Network, tasks: list) -> tuple[list, list[Link]]:
    """Tasks whose pattern is ``Groups(axis=1)`` without labels get the units as groups.

    Parameters
    ----------
    network : Network
    tasks : list of Task

    Returns
    -------
    tasks : list of Task
        One column of the next layer for each neuron, kh * kw for each filter, the positions of a filter behind
        Flatten. A layer whose inputs are no units that could go stays dense, with the reason in its `note`.
    links : list of Link
        Those whose consumer loses units, in the order of execution.
    """
    known = dict(consumers(network.layers))
    found, links = [], []
    for task in tasks:
        pattern = task.pattern
        if isinstance(pattern, Groups) and pattern.axis == 1 and pattern.partition is None:
            link = known[task.key]
            if isinstance(link, Link):
                links.append(link)
                shape = network.shapes[task.name]
                labels = np.broadcast_to(link.columns.reshape(shape[1:]), shape)
                task = replace(task, pattern=Groups(pattern.sparsity, pattern.keep, 1, labels))
            else:
                task = replace(task, pattern=None, note=link)
        found.append(task)
    return found, links


def without_producers(params: dict, masks: dict, links: list[Link]) -> tuple[dict, dict]:
    """New parameters and masks: where all columns of a unit are pruned, what produces it is removed too.

    Parameters
    ----------
    params, masks : dict of arrays
        Of the network after its layers are pruned, with a mask for every consumer.
    links : list of Link
        What `with_units` gave.
    """
    for link in links:
        params, masks = silence(params, masks, link, gone(link, masks[f"{link.consumer}.weight"]))
    return params, masks


def gone(link: Link, mask) -> np.ndarray:
    """The units, ascending, of which the consumer's `mask` keeps no column in any row."""
    read = to_numpy(mask).reshape(mask.shape[0], -1).any(axis=0)
    return np.setdiff1d(link.columns, link.columns[read])
