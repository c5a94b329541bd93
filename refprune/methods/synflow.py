r"""SynFlow: the weights that carry the least synaptic flow go, in many steps, without any data.

Model: R, the sum of the outputs of the network with weights ``|w|``, on an input of ones: the sum over all paths of
the products of ``|w|`` along them.
Solution: the score ``|w dR / dw|`` is the sum over the paths through w. In T steps, ``N (k / N)^(t / T)`` of N weights
are kept after step t; what goes stays away.
What keeps it in range: all is linear and nowhere negative, so activations and adjoints are rescaled by powers of two
from layer to layer (a residual counts as one), and the ranks are those of exact scaling at any depth.
Ties: the lowest flat index is pruned first. A unit with one weight in and one out makes the two equal but for rounding.
Cost: T gradients of one sample, and T sorts.
Source: Tanaka et al. 2020, Pruning neural networks without any data by iteratively conserving synaptic flow.
"""

import numpy as np

from refprune.arrays import astype, exponent, full, integer, namespace, widest
from refprune.methods.system import in_range
from refprune.methods.vectors import count
from refprune.methods.weight_scores import network_weights, product, pruned, stages
from refprune.network import Network, ReLU, Residual, chain
from refprune.network.kinds import Elementwise
from refprune.patterns import NM, Unstructured
from refprune.pruned import Pruned


def synflow(
    network: Network, params: dict, batch: tuple, pattern: Unstructured | NM, steps: int = 100
) -> Pruned:
    r"""Prune the weights of least synaptic flow :math:`|w \, \partial R / \partial w|`, step by step.

    :math:`R = 1^T \prod_l |W_l| \, 1`, the sum of the outputs of the network with its weights in size and without
    biases, on an input of ones.

    Parameters
    ----------
    network : Network
    params : dict of arrays
    batch : tuple of int, or pair (x, y)
        The shape of one sample, ``(1, 28, 28)``. Or a batch as of `snip`, of which only that shape is read.
    pattern : Unstructured or NM
        As of `force`: the scope None is "network".
    steps : int
        T. With one, SynFlow collapses like others.

    Returns
    -------
    Pruned
        As of `snip`; `scores` are those of the last step, in float64, 0 where a weight went earlier, and inf beyond
        the range. `trace` has the number of kept weights after each step where there are several.

    Raises
    ------
    TypeError, ValueError
        Before any work: arguments that do not fit, NaN and Inf.
    numpy.linalg.LinAlgError
        The flow through one layer, or one residual, beyond the range of its dtype.

    See Also
    --------
    force : steps with data.

    Notes
    -----
    Activations count as the identity, which ReLU is here; biases take no part. BatchNorm2d multiplies by
    :math:`|\text{weight}| / \sqrt{\text{var} + \text{eps}}` and shifts nothing, so folding it into the layer before
    it changes no score. Average pools are linear; a max pool takes its winners, the first of equal ones.

    Flow is conserved: in a chain the scores of every layer sum to R, and those into a hidden unit to those out of it.
    So a step that takes less than R in all can empty no layer, however its weights are spread, and small steps see to
    that: the first ones take many weights of little flow. A layer inside a residual branch carries the flow of that
    branch alone; it can be emptied, and what goes past it stays.

    Source: Tanaka et al. 2020, theorems 1 to 3 and algorithm 1.

    Examples
    --------
    Two paths through the first hidden unit, of 1 * 3 and 2 * 3, and one of 1 * 1 through the other:

    >>> import numpy as np
    >>> import refprune as rp
    >>> network = rp.mlp([2, 2, 1], bias=False)
    >>> params = {"0.weight": np.array([[-1.0, 2.0], [0.0, 1.0]]), "2.weight": np.array([[3.0, -1.0]])}
    >>> answer = rp.synflow(network, params, (2,), rp.Unstructured(keep=3), steps=1)
    >>> answer.scores["0.weight"], answer.scores["2.weight"]
    (array([[3., 6.],
           [0., 1.]]), array([[9., 1.]]))
    >>> answer.weight["0.weight"]
    array([[-1.,  2.],
           [ 0.,  0.]])
    """
    weights, pattern = network_weights(network, params, pattern)
    shape = _shape(network, batch)
    patterns, mask, trace = stages(pattern, steps, weights), None, []
    layers, positive = _linear(network.layers), _positive(network, params)
    sizes = weights.flat(positive)
    for stage in patterns:
        left = sizes if mask is None else namespace(sizes).where(mask, sizes, 0 * sizes)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found
            scores, power = flow(layers, positive | weights.restore(left), shape, weights)
        mask = weights.mask(stage, scores, mask)
        trace.append(count(mask))
    return pruned(weights, mask, scores, power, trace if steps > 1 else ())


def flow(layers, params, shape, weights):
    """(scores (d,), e): the flow through every weight times ``2**-e``, for linear layers and nonnegative `params`."""
    inside, tapes, powers = chain.own(params), [], [0]
    x = full((1, *shape), 1, next(iter(params.values())))
    for key, layer in enumerate(layers):
        x, tape = layer.record(inside[str(key)], x)
        tapes.append(tape)
        power = exponent(_finite(x))
        x, powers = x * 2.0**-power, [*powers, powers[-1] + power]
    delta, below, found, exponents = full(x.shape, 1, x), 0, {}, {}
    for key in reversed(range(len(layers))):
        gradients, delta = layers[key].pull(tapes[key], inside[str(key)], delta, "sum", key > 0)
        for name, gradient in gradients.items():
            if f"{key}.{name}" in weights.arrays:
                found[f"{key}.{name}"] = _finite(gradient)
                exponents[f"{key}.{name}"] = powers[key] + below
        if key > 0:
            power = exponent(_finite(delta))
            delta, below = delta * 2.0**-power, below + power
    scores, power = product(params, found, exponents)
    return weights.flat(scores), power


def _finite(flow):
    """What flows through a layer; LinAlgError beyond the range, which layers in a residual can leave together."""
    return in_range("the flow through one layer", flow)


def _shape(network, batch):
    """The shape of one sample, which fits the network."""
    if not isinstance(batch, (tuple, list)):
        raise TypeError(f"need batch to be a shape or a pair (x, y); got {type(batch).__name__}")
    if len(batch) == 2 and hasattr(batch[0], "shape") and len(batch[0].shape) > 1:
        shape = tuple(batch[0].shape[1:])
    elif any(isinstance(side, (list, tuple)) or getattr(side, "ndim", 0) for side in batch):
        got = ", ".join(type(side).__name__ for side in batch)
        raise TypeError(f"need batch to be a shape or a pair (x, y) with x (samples, ...); got ({got})")
    else:
        shape = tuple(integer("a side of the shape in batch", side, least=1) for side in batch)
    network.output_shape(shape)
    return shape


def _linear(layers):
    """The layers with ReLU, the identity where nothing is negative, in the place of every activation."""
    found = []
    for layer in layers:
        if isinstance(layer, Residual):
            shortcut = None if layer.shortcut is None else _linear(layer.shortcut)
            layer = Residual(_linear(layer.body), shortcut)
        found.append(ReLU() if isinstance(layer, Elementwise) else layer)
    return found


def _positive(network, params):
    """The parameters in size, in float64; 0 for what would shift."""
    found = {}
    for name, value in params.items():
        value = astype(value, widest(value))
        shifts = name.endswith((".bias", ".running_mean"))
        found[name] = 0 * value if shifts else abs(value)
    return found
