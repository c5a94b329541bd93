r"""Training by stochastic gradient descent with momentum, masks held; accuracy and sparsity.

Model: the mean loss of a network over the samples of a batch, see `refprune.network.losses`.
Step: ``d = g + weight_decay w``, ``b = momentum b + d`` (``b = d`` at the first), ``w <- w - lr b``, then w = 0
where the mask says pruned.
Cost: one gradient of the batch for each step.
Source: Sutskever et al. 2013, section 2, in the form of `torch.optim.SGD` (no dampening, no Nesterov).
"""

from collections.abc import Callable

import numpy as np

from refprune.arrays import (
    Array,
    astype,
    boolean,
    dtype_name,
    from_numpy,
    full,
    integer,
    library,
    namespace,
    nonnegative,
    to_numpy,
)
from refprune.progress import bar

from . import derivatives
from .point import Point, parts


def train(
    network,
    params: dict,
    x: Array,
    y: Array,
    *,
    epochs: int = 10,
    batch_size: int | None = 32,
    lr: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    masks: dict | None = None,
    loss: str = "cross_entropy",
    rng: np.random.Generator | int = 0,
    schedule: Callable[[float], float] | None = None,
    callback: Callable[[int, float], object] | None = None,
    progress: bool = True,
) -> dict:
    r"""Train a network by plain SGD with momentum; masked weights are exactly 0.0 after every step.

    .. math:: b_t = \mu b_{t-1} + g_t + \lambda w_t, \qquad w_{t+1} = w_t - \eta\, s(t / T)\, b_t

    with :math:`b_{-1} = 0`, the learning rate :math:`\eta`, the schedule s and T steps in all.

    Parameters
    ----------
    network : Network
    params : dict of arrays
        Where training starts.
    x : array, shape (samples, ...)
    y : array
        Integer labels (samples,), or targets of the outputs' shape for ``loss="squared"``.
    epochs : int
        Passes over all samples.
    batch_size : int, optional
        Samples of a step; the last batch of an epoch may be smaller. None takes all of them, in their order.
    lr, momentum, weight_decay : float
        :math:`\eta \ge 0`, :math:`\mu` in [0, 1), :math:`\lambda \ge 0`. The decay acts on all trainable
        parameters, biases too.
    masks : dict of boolean arrays, optional
        By the name of the weight, True = kept. Weights without a mask are all kept.
    loss : str
        ``"cross_entropy"`` or ``"squared"``.
    rng : numpy.random.Generator or int
        Draws the order of the samples in every epoch, with NumPy, so that every kind of array sees the same.
    schedule : callable, optional
        The factor of the learning rate as a function of the share of steps that are done, from 0 up to
        ``1 - 1/T``: ``lambda t: 1 - t`` falls linearly. Constant 1 without it.
    callback : callable, optional
        Called after every epoch as ``callback(epoch, loss)``, the epoch from 1, the loss the mean over the
        epoch's samples, each at the weights of its step.
    progress : bool
        A bar on standard error, where that is a terminal.

    Returns
    -------
    dict of arrays
        New parameters with the names, the order and the dtypes of `params`.

    Raises
    ------
    TypeError, ValueError
        Before any work: arguments that do not fit; a mask for what is no weight of a Dense or Conv2d.
    FloatingPointError
        Training diverged: the loss or a weight is not finite, and the message names the step; or a weight is beyond
        the range of its dtype in the end.

    Notes
    -----
    BatchNorm2d is at inference: its weight and bias are trained, its running statistics are constants and come
    back as they were given. The same seed gives the same result, bit for bit, on one machine.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 2))
    >>> y = (x[:, 0] * x[:, 1] > 0).astype(int)
    >>> network = rp.mlp([2, 16, 2])
    >>> params = rp.train(network, network.init(rng), x, y, epochs=30)
    >>> rp.accuracy(network, params, x, y) > 0.95
    True
    """
    derivatives.trainable(network)
    start, x, y = derivatives.prepared(network, params, x, y, loss)
    epochs = integer("epochs", epochs, least=0)
    samples = x.shape[0]
    size = samples if batch_size is None else integer("batch_size", batch_size, least=1)
    if not isinstance(rng, np.random.Generator):
        rng = np.random.default_rng(integer("rng", rng, least=0))
    state = _State(network, start, masks, loss, lr, momentum, weight_decay)
    total = epochs * -(-samples // size)
    with bar("train", total, progress) as moved:
        for epoch in range(1, epochs + 1):
            order = np.arange(samples) if batch_size is None else rng.permutation(samples)
            seen = 0.0
            for first in range(0, samples, size):
                chosen = order[first : first + size]
                factor = 1.0 if schedule is None else float(schedule(state.steps / total))
                seen += len(chosen) * state.step(*_batch(x, y, chosen), factor)
                moved(state.steps, f"epoch {epoch}/{epochs} loss {seen / (first + len(chosen)):.4g}")
            if callback is not None:
                callback(epoch, seen / samples)
    return {name: _narrowed(name, state.params[name], value.dtype) for name, value in params.items()}


def _narrowed(name, array, dtype):
    """The array in `dtype`, a new one; FloatingPointError beyond its range."""
    with np.errstate(over="ignore"):
        found = astype(array, dtype)
    if not bool(library(found).all(library(found).isfinite(found))):
        raise FloatingPointError(
            f"need weights in the range of {dtype_name(dtype)}; got larger ones in {name}"
        )
    return found


def _batch(x, y, chosen):
    """The `chosen` samples."""
    places = from_numpy(chosen, x)
    return tuple(namespace(array).take(array, places, axis=0) for array in (x, y))


class _State:
    """The weights and what the momentum remembers; arguments of `train` that are checked here or before."""

    def __init__(self, network, params, masks, loss, lr, momentum, weight_decay):
        self.network, self.loss, self.lr = network, loss, nonnegative("lr", lr)
        self.momentum = nonnegative("momentum", momentum)
        if self.momentum >= 1:
            raise ValueError(f"need momentum in [0, 1); got {momentum}")
        self.decay = nonnegative("weight_decay", weight_decay)
        self.masks = checked_masks(network, {} if masks is None else masks)
        self.params = params | {name: self._masked(name, params[name]) for name in self.masks}
        self.buffers, self.steps = {}, 0

    def _masked(self, name, weight):
        """The weight with 0.0 where it is pruned."""
        if name not in self.masks:
            return weight
        mask = self.masks[name]
        return namespace(mask, weight).where(mask, weight, full((), 0, weight))

    def step(self, x, y, factor):
        """One step on a batch; the loss before it."""
        self.steps += 1
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found below
            value, gradient = self._slope(x, y)
            for name, g in gradient.items():
                d = g + self.decay * self.params[name]
                b = self.momentum * self.buffers[name] + d if name in self.buffers else d
                self.buffers[name] = b
                self.params[name] = self._masked(name, self.params[name] - self.lr * factor * b)
        bad = [name for name in gradient if not bool(library(x).all(library(x).isfinite(self.params[name])))]
        if bad or not np.isfinite(value):
            what = f"a loss of {value:g}" if not bad else f"{bad[0]} with NaN or Inf (the loss was {value:g})"
            raise FloatingPointError(
                f"need finite weights and losses; got {what} at step {self.steps}: try a smaller lr than {self.lr:g}"
            )
        return value

    def _slope(self, x, y):
        """The loss (a float) and its gradient (a dict) on one batch. All arguments are checked already."""
        value, gradient = 0.0, {}
        for part in parts(self.network, x):
            point = Point(self.network, self.params, x[part, ...], y[part, ...], self.loss, x.shape[0])
            value += float(point.value())
            for name, g in point.pull().items():
                gradient[name] = gradient[name] + g if name in gradient else g
        return value, gradient


def checked_masks(network, masks: dict) -> dict:
    """Return `masks` when they are boolean arrays for weights of the network.

    Raises
    ------
    TypeError, ValueError
        No dict of boolean arrays; a name that is no weight of a Dense or Conv2d; a shape that does not fit.
    """
    if not isinstance(masks, dict):
        raise TypeError(f"need masks to be a dict of boolean arrays; got {type(masks).__name__}")
    for name, mask in masks.items():
        if name not in network.prunable:
            raise ValueError(f"need masks for {', '.join(network.prunable)}; got {name!r}")
        boolean(f"masks[{name!r}]", mask, shape=network.shapes[name])
    return masks


def accuracy(network, params: dict, x: Array, y: Array) -> float:
    """The share of the samples whose largest output is the one of the label; among equals the first counts.

    Parameters
    ----------
    network : Network
    params : dict of arrays
    x : array, shape (samples, ...)
    y : integer array, shape (samples,)

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> network = rp.Network([rp.Dense(2, 2, bias=False)])
    >>> x, y = np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([0, 0])
    >>> rp.accuracy(network, {"0.weight": np.eye(2)}, x, y)
    0.5
    """
    derivatives.prepared(network, params, x, y, "cross_entropy")
    outputs = network.forward(params, x)
    chosen = to_numpy(namespace(outputs).argmax(outputs, axis=1))
    return int(np.count_nonzero(chosen == to_numpy(y))) / x.shape[0]


def sparsity(masks: dict) -> float:
    """The share of pruned weights among all that have a mask.

    Parameters
    ----------
    masks : dict of boolean arrays
        True = kept.

    Raises
    ------
    TypeError, ValueError
        No dict of boolean arrays; nothing in it.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rp.sparsity({"0.weight": np.array([[True, False]]), "2.weight": np.array([[True, False]])})
    0.5
    """
    if not isinstance(masks, dict):
        raise TypeError(f"need masks to be a dict of boolean arrays; got {type(masks).__name__}")
    kept = [to_numpy(boolean(f"masks[{name!r}]", mask)) for name, mask in masks.items()]
    total = sum(mask.size for mask in kept)
    if total == 0:
        raise ValueError("need masks with at least one weight; got none")
    return sum(mask.size - int(np.count_nonzero(mask)) for mask in kept) / total
