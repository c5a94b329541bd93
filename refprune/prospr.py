r"""ProsPr: pruning before training, by what the weights mean for the loss a few steps of training later.

Model: every prunable weight has a switch c = 1 that acts once, before the first step, ``theta_0 = c w``. M steps of
SGD with momentum follow, see `refprune.methods.training_path`.
Problem: the score of a weight is ``|d L(theta_M) / dc|``; the largest stay, with the weights of the beginning.
Solution: the steps differentiated backward (the adjoint). With ``v_M`` the gradient of the last batch at
``theta_M`` and ``a_M = 0``, for t = M-1, ..., 0:

    a_t = m a_(t+1) - lr v_(t+1),    v_t = v_(t+1) + (H_t + decay) a_t,    score = |w v_0|

(``a_t = dL / db_t`` and ``v_t = dL / d theta_t``). What makes it fast: one Hessian-vector product for each step, in
place of the derivative of all parameters by all switches, (d, d), that the definition carries along.
Ties: the lowest flat index is pruned first, of units the first of the first layer.
Cost: M + 1 gradients and M products of at most 8/3 gradients each.
Source: Alizadeh et al. 2022, Prospect Pruning: Finding Trainable Weights at Initialization using Meta-Gradients,
(5) to (8); the adjoint is that of Griewank and Walther 2008, Evaluating Derivatives, section 3.2.
"""

from collections.abc import Iterable

import numpy as np

from refprune.arrays import Array, cast, flag, full, integer, nonnegative, times_power
from refprune.methods.system import in_range
from refprune.methods.training_path import TrainingPath, finite
from refprune.methods.weight_scores import product
from refprune.network import Network
from refprune.network.derivatives import prepared, split
from refprune.patterns import NM, Groups, Unstructured
from refprune.pruned import Pruned
from refprune.pruning.choices import Units, choices


def prospr(
    network: Network,
    params: dict,
    batches: Iterable,
    pattern: Unstructured | NM | Groups,
    lr: float,
    momentum: float = 0.0,
    first_order: bool = False,
    detach_first: bool = False,
    *,
    weight_decay: float = 0.0,
    loss: str = "cross_entropy",
    layers: Iterable | None = None,
    allocation: str | None = None,
    store_every: int = 1,
) -> Pruned:
    r"""Prune weights, neurons or filters of a network before training, by exact meta-gradients.

    .. math:: \text{score} = \left| \frac{\partial L(\theta_M; B_M)}{\partial c} \right|, \qquad
              \theta_0 = c \odot w, \quad b_t = \mu b_{t-1} + \nabla L(\theta_t; B_t) + \lambda \theta_t, \quad
              \theta_{t+1} = \theta_t - \eta\, b_t

    at c = 1 and with :math:`b_{-1} = 0`: how fast the loss after M steps of SGD changes with a switch on a weight.

    Parameters
    ----------
    network : Network
    params : dict of arrays
        The weights w before training, biases and all.
    batches : iterable of (x, y)
        :math:`B_0, \dots, B_M`: one batch for each step, and a last one for the loss. With one pair there is no step,
        and the scores are those of SNIP. ``[(x, y)] * (M + 1)`` takes the same data throughout. They are gathered
        first and not copied: an iterator must not write the next batch into the arrays of the last.
    pattern : Unstructured, NM or Groups
        The scope of `Unstructured` is the network unless it says ``"layer"`` or ``"row"``; N:M is of every layer.
        `Groups`, without labels, stands for neurons and filters. The weights of a unit share one switch: those of its
        row for ``axis=0``, those of the columns that read it in the next layer for ``axis=1``.
    lr, momentum : float
        :math:`\eta \ge 0`, and :math:`\mu` in [0, 1).
    first_order : bool
        Leaves out every Hessian: :math:`v_0 = v_M`.
    detach_first : bool
        With momentum, :math:`b_0` counts as a constant, as in the published code; it loses the Hessian of the first
        step.
    weight_decay : float
        :math:`\lambda \ge 0`, on all trainable parameters, as in `train`.
    loss : str
        ``"cross_entropy"`` or ``"squared"``.
    layers : iterable of str or int, optional
        For `Groups`: the layers whose units compete, by key (``"0"``) or by the name of the weight. None: every layer
        with units that can go, as of `sosp`.
    allocation : {"global", "layer"}, optional
        For `Groups`: the units of all layers share one count and are ranked together, or each layer loses its share.
        None is "global".
    store_every : int
        Every so many-th point of the training is stored; those between are computed again. It changes no bit of the
        answer.

    Returns
    -------
    Pruned
        `weight`, `mask` and `scores` are dicts by the names of the prunable weights; ``params | answer.weight`` is the
        pruned network. What is kept is as it was given. For `Groups` the scores are arrays (units,) by the name of the
        weight whose rows they are, in float64 where there is one, and `weight` has all parameters: what makes and what
        reads a removed unit is 0, biases too, so that `shrink` takes it out. `objective` is None.

    Raises
    ------
    TypeError, ValueError
        Before any work: arguments that do not fit.
    FloatingPointError
        The steps diverge: a weight or a derivative is not finite.
    numpy.linalg.LinAlgError
        A score beyond the range of its dtype.

    See Also
    --------
    snip : the same without training.
    sosp : units by the loss as it is, to second order.

    Notes
    -----
    Biases and BatchNorm2d take the steps and have no switch. BatchNorm2d is at inference, as in `train`; the published
    code takes the statistics of every batch. A unit's score is :math:`|\sum_{j \in B} w_j v_j|`, with the signs inside.

    Momentum, masks that are not applied again after the start, and new batches are all in the derivative. The adjoint:
    with :math:`v_M = \nabla L(\theta_M; B_M)` and :math:`a_M = 0`, for t = M - 1, ..., 0

    .. math:: a_t = \mu a_{t+1} - \eta v_{t+1}, \qquad v_t = v_{t+1} + (H_t + \lambda I)\, a_t, \qquad
              \text{score} = |w \odot v_0| .

    Time: M + 1 gradients and M products with a Hessian of at most 8/3 gradients. Memory: the batches, what such a
    product needs, a few vectors of all d parameters, and M more that store the training. With ``store_every=k`` these
    are at most :math:`2 \lceil M / k \rceil + k`, which is least near :math:`k = \sqrt{2 M}`, for up to M more
    gradients; with ``first_order`` none. At a kink of the network any one-sided derivative is taken.

    Source: Alizadeh et al. 2022, Prospect Pruning (ProsPr), (5) to (8).

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rng = np.random.default_rng(0)
    >>> network = rp.mlp([4, 10, 10, 2])
    >>> params = network.init(rng)
    >>> x = rng.normal(size=(96, 4))
    >>> y = (x[:, 0] * x[:, 1] > 0).astype(int)
    >>> batches = [(x[i : i + 24], y[i : i + 24]) for i in range(0, 96, 24)]
    >>> answer = rp.prospr(network, params, batches, rp.Unstructured(sparsity=0.9), lr=0.1, momentum=0.9)
    >>> rp.sparsity(answer.mask)
    0.9
    >>> trained = rp.train(network, params | answer.weight, x, y, masks=answer.mask)

    Half of the hidden neurons, three steps ahead:

    >>> answer = rp.prospr(network, params, batches, rp.Groups(sparsity=0.5), lr=0.1)
    >>> rp.shrink(network, params | answer.weight, answer.mask)[0].layers[2]
    Dense(inputs=5, outputs=5, bias=True)
    """
    choice, pattern = choices(network, params, pattern, allocation, layers)
    units = isinstance(choice, Units)
    if layers is not None and not units:
        raise ValueError(f"need layers with Groups alone; got {layers!r} with {pattern}")
    first_order, detach_first = flag("first_order", first_order), flag("detach_first", detach_first)
    path = _checked(network, params, batches, lr, momentum, weight_decay, loss, store_every)
    v = meta_gradient(path, first_order, detach_first)
    slopes, power = product(path.params, split(network, v))
    if units:  # of what makes a unit, only the weights of its row have the switch
        own = {f"{link.consumer if choice.axis else link.producer}.weight" for link in choice.links}
        slopes = {name: a if name in own else full(a.shape, 0, a) for name, a in slopes.items()}
    scores = {name: abs(slope) for name, slope in choice.scores(slopes).items()}
    weight, mask = choice.removed(params, choice.kept(pattern, scores))
    if not units:
        weight = {name: weight[name] for name in network.prunable}
    scores = {name: in_range("the scores", times_power(own, power)) for name, own in scores.items()}
    return Pruned(weight, mask, scores=scores)


def meta_gradient(path: TrainingPath, first_order: bool, detach_first: bool) -> Array:
    """The derivative (d,) of the last batch's loss after the steps in the parameters before them."""
    last = len(path.batches) - 1
    theta, back = path.there(keep=not first_order)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found
        v, a = finite(path.gradient(last, theta), f"gradient after {last} steps"), None
        for t, theta in back:
            if t == 0 and detach_first and path.momentum:
                break
            a = -path.lr * v if a is None else path.momentum * a - path.lr * v
            v = v + path.hvp(t, theta, finite(a, f"derivatives of step {t + 1}"))
    return finite(v, "derivatives of step 1")


def _checked(network, params, batches, lr, momentum, decay, loss, every):
    """The path of the training, in one precision. An iterator is not asked before the numbers fit.

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit.
    """
    lr, decay, momentum = (
        nonnegative(name, value)
        for name, value in (("lr", lr), ("weight_decay", decay), ("momentum", momentum))
    )
    if momentum >= 1:
        raise ValueError(f"need momentum in [0, 1); got {momentum}")
    every = integer("store_every", every, least=1)
    if isinstance(batches, (str, dict)) or not isinstance(batches, Iterable):
        raise TypeError(f"need batches to be a list of (x, y); got {type(batches).__name__}")
    found = []
    for t, batch in enumerate(batches):
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            of = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
            raise TypeError(f"need pairs (x, y) in batches; got {type(batch).__name__}{of} at {t}")
        try:
            prepared(network, params, *batch, loss)
        except (TypeError, ValueError) as error:
            raise type(error)(f"batches[{t}]: {error}") from error
        found.append(tuple(batch))
    if not found:
        raise ValueError("need at least one pair (x, y) in batches; got none")
    names, (xs, ys) = [*network.shapes, *network.constants], zip(*found, strict=True)
    numbers = [*xs, *ys] if loss == "squared" else xs
    arrays = cast(*(params[name] for name in names), *numbers)
    params, numbers = dict(zip(names, arrays)), arrays[len(names) :]
    ys = numbers[len(xs) :] if loss == "squared" else ys
    found = list(zip(numbers[: len(xs)], ys, strict=True))
    return TrainingPath(network, params, found, loss, lr, momentum, decay, every)
