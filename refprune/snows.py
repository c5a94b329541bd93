r"""SNOWS: the kept weights of a network's layers, readjusted for what the layers behind them compute.

Model: a layer's weight V moves its own output and those of the next K operations,
:math:`F(V) = \sum_{j=0}^{K} \| y_j(V) - t_j \|^2`, with the dense network's outputs :math:`t_j`
(`refprune.network.reconstruction`).
Problem: the least F over the kept weights of a mask, which comes from any method.
Solution: the layers in the order of execution, each by `newton_cg`; its inputs come through the layers before, as
readjusted.
Cost: for each layer a forward pass up to the last output that is compared, and its Newton steps through the layers
from this one to that.
Source: Lucas and Mazumder 2024, Preserving Deep Representations in One-Shot Pruning: A Hessian-Free Second-Order
Optimization Framework (SNOWS, arXiv 2411.18376), the K-step problem and its solver.
"""

import time
from collections.abc import Iterable
from functools import partial

import numpy as np

from refprune.arrays import Array, flag, full, integer, namespace, nonnegative, to_numpy
from refprune.methods.hard_thresholding import cut
from refprune.methods.newton_cg import newton_cg
from refprune.methods.newton_solver import Solver
from refprune.network import Network, Reconstruction, accuracy
from refprune.network.training import checked_masks
from refprune.progress import bar
from refprune.prune import PrunedNetwork
from refprune.pruning.plan import named
from refprune.pruning.readjusted import Readjusted
from refprune.pruning.report import Report
from refprune.pruning.units import every_layer

SIDES = ("pruned", "dense")


def snows(
    network: Network,
    params: dict,
    masks: dict,
    inputs: Array,
    horizon: int | None,
    targets: Array | None = None,
    *,
    start: dict | None = None,
    layers: Iterable | None = None,
    operations: tuple[str, ...] | None = None,
    logits: bool = False,
    reduction: str = "samples",
    calibration: str = "pruned",
    target_inputs: str = "dense",
    tail: str = "pruned",
    curvature: str = "hessian",
    damp: float = 0.0,
    max_iter: int = 10,
    tol: float = 1e-4,
    cg_rtol: float = 1e-3,
    cg_atol: float = 0.0,
    cg_max_iter: int = 100,
    batch_size: int | None = None,
    rng: np.random.Generator | None = None,
    progress: bool = True,
) -> PrunedNetwork:
    r"""Readjust the kept weights of a pruned network, layer by layer, to the outputs of the dense one.

    .. math:: F(V) = \sum_{j=0}^{K} \frac1N \sum_{s=1}^{N} \| y_j(x_s; V) - t_j(x_s) \|^2

    over the kept entries of one weight, for one layer after the other: :math:`y_0` is the layer's output, the others
    are those of the next K operations, and :math:`t_j` is what the dense network has there.

    Parameters
    ----------
    network : Network
    params : dict of arrays
        The dense network.
    masks : dict of boolean arrays
        By the name of the weight, from any method and of any pattern; True = kept. A weight that is missing keeps all.
    inputs : array, shape (samples, ...)
        Calibration samples.
    horizon : int or None
        K; None goes to the end of the network.
    targets : integer array, shape (samples,), optional
        Labels of the inputs. With them the report has the accuracy of the dense network and of the answer.
    start : dict of arrays, optional
        The pruned network to begin with, 0 where the masks prune. None: `params` with zeros there.
    layers : iterable of str or int, optional
        Which layers are readjusted (``"2"``, ``"2.weight"`` or 2); None: those with a mask.
    operations : tuple of str, optional
        The types of layers that count for K, as of `Reconstruction`: dense layers, convolutions and activations when
        None.
    logits : bool
        The network's output is compared in any case, also beyond K.
    reduction : {"samples", "sum", "entries"}
        As above; without 1/N; or the mean over all entries of each output, as in the published code. It sets the unit
        of `damp` and `cg_atol`.
    calibration : {"pruned", "dense"}
        Whether the inputs of a layer come through the layers before it as readjusted, or as in `params`.
    target_inputs : {"dense", "pruned"}
        Whether the layers that give :math:`t_j` see what they see in the dense network, or what this layer sees,
        which is what `calibration` says.
    tail : {"pruned", "dense"}
        Whether :math:`y_j` goes through the layers behind as they are in `start`, or as in `params`. The body of a
        residual comes before its shortcut.
    curvature, damp, max_iter, tol, cg_rtol, cg_atol, cg_max_iter
        Of `newton_cg`, for every layer; here with fewer and shorter solves by default.
    batch_size : int, optional
        Every Newton step takes so many samples, drawn without replacement, for all that is in it. None: all samples.
    rng : numpy.random.Generator, optional
        Draws them.
    progress : bool
        A bar on standard error, where that is a terminal.

    Returns
    -------
    PrunedNetwork
        New parameters, a mask for every prunable weight, and the report: for each layer F before and after, and the
        trace of `newton_cg`. Nothing that was given is changed.

    Raises
    ------
    TypeError, ValueError
        Before any work: arguments that do not fit; a `start` that is not 0 where a mask prunes.
    numpy.linalg.LinAlgError
        Of `newton_cg`, with the layer's name: values that are not finite.

    See Also
    --------
    newton_cg : the solver.
    Reconstruction : F, for one layer.
    prune : masks, and weights to start from.

    Notes
    -----
    With all samples in a step, F of a layer never rises. With ``tail="pruned"``, dense targets, and the output of the
    network among what is compared, its last term is the error of the whole network as it stands at that moment; a step
    may still trade that for other terms. ``tail="dense"`` fits a network that will not be there.

    With K = 0 this is least squares: for ``calibration="dense"`` or ``target_inputs="pruned"`` the weights of
    `optimal_weights` on a layer's inputs, else the fit of the dense targets from the inputs that are there. Where only
    ReLU, pools and layers linear in their input follow, the Hessian is the Gauss-Newton matrix and never negative.

    Biases and batch normalisation keep their values. Labels are not needed.

    Memory: the inputs of a layer and all outputs that are compared, for all samples.

    Examples
    --------
    A mask by magnitude, readjusted up to the end of the network:

    >>> import numpy as np
    >>> import refprune as rp
    >>> rng = np.random.default_rng(0)
    >>> network, x = rp.mlp([8, 8, 8, 3]), rng.normal(size=(100, 8))
    >>> params = network.init(rng)
    >>> pruned = rp.prune(network, params, x, "magnitude", rp.NM(2, 4))
    >>> answer = rp.snows(network, params, pruned.masks, x, horizon=None, start=pruned.params)
    >>> dense = network.forward(params, x)
    >>> before, after = (((network.forward(p, x) - dense) ** 2).mean() for p in (pruned.params, answer.params))
    >>> bool(after < 0.8 * before), rp.sparsity(answer.masks)
    (True, 0.5)
    """
    begin = time.perf_counter()
    if not isinstance(network, Network):
        raise TypeError(f"need a Network; got {type(network).__name__}")
    network.ready(params, inputs, "inputs")
    masks, current = _starting(network, params, masks, start)
    chosen, sides = _chosen(network, masks, layers), _Sides(network, params, calibration, target_inputs, tail)
    terms = {"horizon": horizon, "operations": operations, "reduction": reduction, "logits": logits}
    Reconstruction(network, params, inputs[:1, ...], chosen[0], **terms)  # its errors, before any work
    Solver.checked(curvature, damp, cg_rtol, cg_atol, cg_max_iter)
    max_iter, tol = integer("max_iter", max_iter, least=0), nonnegative("tol", tol)
    solve = partial(newton_cg, curvature=curvature, damp=damp, max_iter=max_iter, tol=tol, cg_rtol=cg_rtol,
                    cg_atol=cg_atol, cg_max_iter=cg_max_iter, rng=rng)  # fmt: skip
    _check_batches(batch_size, rng, inputs.shape[0])
    flag("progress", progress)
    with named("targets"):
        before = None if targets is None else accuracy(network, params, inputs, targets)
    rows = {}
    with bar("SNOWS", len(chosen), progress) as moved:
        for done, key in enumerate(chosen, 1):
            name = f"{key}.weight"
            with named(f"layer {key}"):
                here, dense = sides.of(current, key)
                f = Reconstruction(network, here, inputs, key, dense=dense, **terms)
                current[name], rows[key] = _readjusted(f, current[name], masks.get(name), solve, batch_size)
            moved(done, f"layer {key}")
    masks = {
        name: masks[name] | False if name in masks else full(current[name].shape, True, current[name], "bool")
        for name in network.prunable
    }
    after = None if targets is None else accuracy(network, current, inputs, targets)
    table = tuple(_row(name.removesuffix(".weight"), mask, rows) for name, mask in masks.items())
    seconds, accuracies = time.perf_counter() - begin, None if targets is None else (before, after)
    return PrunedNetwork(current, masks, Report(table, calibration, seconds, accuracies))


def _starting(network, params, masks, start):
    """The checked masks, and the parameters to begin with, as new arrays."""
    masks = checked_masks(network, masks)
    namespace(*params.values(), *masks.values())
    if start is None:
        found = {name: value + 0 for name, value in params.items()}
        return masks, found | {name: cut(params[name], mask) for name, mask in masks.items()}
    with named("start"):
        network.check(start)
    namespace(*params.values(), *start.values())
    for name, mask in masks.items():
        if not bool(namespace(mask).all(cut(start[name], mask) == start[name])):
            raise ValueError(
                f"need start[{name!r}] to be 0 where masks[{name!r}] prunes; got another value there"
            )
    return masks, {name: value + 0 for name, value in start.items()}


def _chosen(network, masks, layers):
    """The keys of the layers that are readjusted, in the order of execution."""
    if layers is None:
        wanted = set(masks)
    else:
        if isinstance(layers, str) or not isinstance(layers, Iterable):
            raise TypeError(f"need layers to be a list of layers; got {layers!r}")
        wanted = set()
        for key in layers:
            name = f"{str(key).removesuffix('.weight')}.weight"
            if name not in network.prunable:
                known = ", ".join(name.removesuffix(".weight") for name in network.prunable)
                raise ValueError(f"need layers among {known}; got {key!r}")
            wanted.add(name)
    chosen = [name.removesuffix(".weight") for name in network.prunable if name in wanted]
    if not chosen:
        raise ValueError("need masks, or layers, of one layer at least; got none")
    return chosen


def _check_batches(size, rng, samples):
    """TypeError or ValueError unless mini-batches can be drawn as they are asked for."""
    if size is not None:
        integer("batch_size", size, least=1, most=samples)
    if not (isinstance(rng, np.random.Generator) or (rng is None and size is None)):
        raise TypeError(
            f"need rng to be a numpy.random.Generator (with batch_size); got {type(rng).__name__}"
        )


class _Sides:
    """Which parameters stand before and behind a layer."""

    def __init__(self, network, params, calibration, target_inputs, tail):
        for name, value in (("calibration", calibration), ("target_inputs", target_inputs), ("tail", tail)):
            if not isinstance(value, str) or value not in SIDES:
                raise ValueError(f"need {name} to be {' or '.join(SIDES)}; got {value!r}")
        self.params, self.calibration, self.target_inputs, self.tail = (
            params,
            calibration,
            target_inputs,
            tail,
        )
        self.places = {key: place for place, key in enumerate(every_layer(network.layers))}

    def of(self, current, key):
        """The parameters that give y, and those that give t; `current` are those that have been reached."""
        sides = {"pruned": current, "dense": self.params}
        before = sides[self.calibration]
        here = self._joined(before, current, sides[self.tail], key)
        first = before if self.target_inputs == "pruned" else self.params
        return here, self._joined(first, self.params, self.params, key)

    def _joined(self, before, at, behind, key):
        """The parameters of the layers before `key`, of that layer, and of those behind it."""
        place = self.places[key]
        found = {}
        for name in self.params:
            other = self.places[name.rpartition(".")[0]]
            found[name] = (before if other < place else at if other == place else behind)[name]
        return found


def _readjusted(f, weight, mask, solve, size):
    """The new weight of a layer, and what its row says: (keys, F before, F after, trace, seconds)."""
    begin, xp, shape = time.perf_counter(), namespace(weight), tuple(weight.shape)
    start = xp.reshape(weight, (-1,))
    kept = full(start.shape, True, start, "bool") if mask is None else xp.reshape(mask, (-1,))
    sample = None if size is None else (lambda rng: f.part(rng.choice(f.samples, size, replace=False)))
    with np.errstate(over="ignore", invalid="ignore"):  # `newton_cg` tells when it is not finite
        before = float(f.value(start))
    answer = solve(f, kept, start, sample=sample)
    row = (f.captured, before, answer.objective, answer.trace, time.perf_counter() - begin)
    return xp.reshape(answer.weight, shape), row


def _row(key, mask, rows):
    """The row of the report."""
    weights = int(np.prod(mask.shape))
    pruned = weights - int(np.count_nonzero(to_numpy(mask)))
    return Readjusted(key, weights, pruned, pruned / weights, *rows.get(key, ()))
