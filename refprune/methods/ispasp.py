r"""i-SpaSP: hidden units as a sparse signal, chosen as CoSaMP chooses.

Model: what n samples emit in the hidden units, H (units, n), and a linear layer W behind them, so outputs U = W H.
Problem: keep `keep` units S, weights unchanged, with a small residual :math:`V = U - W_{:S} H_{S:}`.
Solution: from S = {}, again and again: the `2 keep` units of largest importance, the row sums of :math:`W^T V`,
which is the gradient of :math:`\frac12 \|V\|_F^2` in H; of these and S those `keep` with the largest row sums of H.
Or, with rank="norms", those with the largest norm of what they give to the outputs, :math:`\|W_{:u} H_{u:}\|_F`.
Ties: the lowest index is pruned first.
Cost: two products of W with one vector for each iteration (see `unit_selection`), and one of W with H at the end.
Source: Wolfe, Kyrillidis 2021, i-SpaSP: Structured Neural Pruning via Sparse Signal Recovery, algorithm 1.
"""

import numpy as np

from refprune.arrays import Array, cast, from_numpy, integer, namespace, nonnegative, real, swap
from refprune.methods.optimal_weights import optimal_weights
from refprune.methods.system import floating
from refprune.methods.unit_selection import Hidden
from refprune.network import Conv2d, Dense
from refprune.problems import LayerProblem
from refprune.pruned import Pruned
from refprune.unfold import Padding, Sides

IMPORTANCE = ("signed", "absolute")
RANK = ("sums", "norms")


def ispasp(
    hidden: Array,
    weight: Array,
    keep: int,
    importance: str = "signed",
    refit: bool = False,
    iterations: int = 20,
    stop: bool = True,
    *,
    rank: str = "sums",
    damp: float = 0.0,
    stride: Sides = 1,
    padding: Padding = 0,
    dilation: Sides = 1,
) -> Pruned:
    r"""Keep the hidden units that nearly give the outputs of all.

    Parameters
    ----------
    hidden : array, shape (units, samples) or (samples, channels, height, width)
        What the hidden units emit, after their activation. The units of images are their channels.
    weight : array, shape (outputs, units) or (out, channels, kh, kw)
        Of the linear layer behind them.
    keep : int
        How many units are kept.
    importance : {"signed", "absolute"}
        Sum :math:`W^T V` over samples (and positions) as it is, as in the paper, or its absolute values.
    refit : bool
        Give the kept units the weights that are best on them, as CoSaMP does; the paper leaves the weights.
    iterations : int
        At most so many.
    stop : bool
        End when the units are those of the iteration before. What follows would repeat it, so the answer is the
        same; False makes all iterations, with an entry in `trace` for each.
    rank : {"sums", "norms"}
        The size of a unit u, by which the kept ones are chosen from the candidates: its row sum of H, as in the
        paper, or the norm of what it gives to the outputs, :math:`\|W_{:u} H_{u:}\|_F`. Of a dense layer that is
        the norm of the row of H times the norm of the column of W.
    damp : float
        Of the refit: ``damp * mean(diag G)`` over living inputs is added to the Gram's diagonal.
    stride, padding, dilation
        Those of a convolution.

    Returns
    -------
    Pruned
        `weight` is 0 in the columns of pruned units, `mask` False in all of them. `objective` is the layer's,
        half the mean square of the residual over samples (and positions). `trace` has for each iteration a
        `Selection`: ``kept``, the units it keeps, ascending, and ``size``, the sum of their sizes. `order` is None.

    Raises
    ------
    TypeError, ValueError
        An argument that does not fit; arrays of different kinds; no sample; Fractions.
    numpy.linalg.LinAlgError
        Of the refit: the Gram of the kept units is not positive definite.

    See Also
    --------
    ispasp_network : all layers of a network.
    cosamp : the same choice for any objective, with the least squares.
    obs : with ``Groups(axis=1)``, units that the others can make up for go first.

    Notes
    -----
    The sizes of the kept units never fall in sum, and the search ends at the first S that comes back. For ``keep >=
    units / 2`` all units are among the `2 keep` most important, and the sizes alone decide.

    A row sum is blind to W, and to how much a unit varies: a unit that always emits a little beats one that speaks
    up for one class. The norm sees both, and bounds what is lost: :math:`\|V\|_F \le \sum_{u \in P} \|W_{:u}
    H_{u:}\|_F`, P the pruned units. Its square, by sample and halved, is OBD's saliency of a column. It costs one
    more pass over H, and of a convolution the products of what its kernel sees of each channel. It is the root of a
    sum of products, so where the columns of a unit cancel, sizes below the square root of eps times
    :math:`\|W_{:u}\| \|H_{u:}\|` are rounding.

    Signed importance sees the mean activations alone: it is the choice of CoSaMP for the signal h, the row sums of H,
    measured as W h, with the sign of the gradient and without the least squares. Where H takes both signs (no
    ReLU) they may cancel, and a loud unit counts for little, unless ``rank="norms"``.

    The residual obeys :math:`\|V\|_F \le \|W\|_2 \|H_{P:}\|_F`, P the pruned units. If the i-th largest of the row
    norms of H is at most :math:`R\, i^{-1/p}` with p < 2, then the s units of largest norm leave
    :math:`\|V\|_F \le \|W\|_2 R\, s^{1/2 - 1/p} / \sqrt{2/p - 1}`.

    Examples
    --------
    The second unit is loud, but the next layer hardly hears it.

    >>> import numpy as np
    >>> import refprune as rp
    >>> hidden = np.array([[2.0, 2.0], [3.0, 4.0], [1.0, 0.0], [0.0, 1.0]])
    >>> answer = rp.ispasp(hidden, np.array([[1.0, 0.0, 1.0, -1.0]]), keep=1)
    >>> answer.trace[-1].kept, answer.weight, answer.objective
    (array([0]), array([[1., 0., 0., 0.]]), 0.5)

    The first two emit as much in sum, and the lower index goes. The norm prefers the one that emits it at once.

    >>> hidden, weight = np.array([[4.0, 0.0], [2.0, 2.0], [3.0, 2.0]]), np.ones((1, 3))
    >>> rp.ispasp(hidden, weight, keep=2).trace[-1].kept, rp.ispasp(hidden, weight, 2, rank="norms").trace[-1].kept
    (array([1, 2]), array([0, 2]))
    """
    layer, weights, x = _checked(hidden, weight, stride, padding, dilation)
    units = weight.shape[1]
    keep = integer("keep", keep, least=0, most=units)
    options(importance, refit, iterations, stop, rank, damp)
    model = Hidden.of(layer, weights, [x], units)
    trace = model.selections(keep, importance, iterations, stop, rank)
    kept = np.zeros(units, dtype=bool)
    kept[trace[-1].kept] = True
    mask = columns(weight, kept)
    if refit:
        window = {} if weight.ndim == 2 else {"stride": stride, "padding": padding, "dilation": dilation}
        best = optimal_weights(LayerProblem.from_inputs(weight, x, **window), mask, damp)
        return Pruned(best.weight, mask, best.objective, trace=trace)
    xp = namespace(weight)
    return Pruned(xp.where(mask, weight, xp.zeros_like(weight)), mask, model.energy(~kept), trace=trace)


def options(importance, refit, iterations, stop, rank, damp):
    """Raise TypeError or ValueError unless the options are what `ispasp` takes."""
    if importance not in IMPORTANCE:
        raise ValueError(f"need importance to be signed or absolute; got {importance!r}")
    if rank not in RANK:
        raise ValueError(f"need rank to be sums or norms; got {rank!r}")
    for name, value in (("refit", refit), ("stop", stop)):
        if not isinstance(value, bool):
            raise TypeError(f"need {name} to be True or False; got {value!r}")
    integer("iterations", iterations, least=1)
    if nonnegative("damp", damp) and not refit:
        raise ValueError(f"need refit=True with damp > 0; got damp={damp}")


def columns(weight, kept):
    """The mask of `weight` that keeps the columns, channels of a convolution, marked in `kept` (NumPy, boolean)."""
    marks = from_numpy(kept.reshape(1, -1, *(1 for _ in weight.shape[2:])), weight)
    return namespace(weight).broadcast_to(marks, tuple(weight.shape)) | False


def _checked(hidden, weight, stride, padding, dilation):
    """(the layer, weight and inputs in one precision), samples first."""
    real("hidden", hidden, ndim=(2, 4))
    floating(hidden)
    real("weight", weight, ndim=hidden.ndim)
    namespace(hidden, weight)
    if 0 in hidden.shape or 0 in weight.shape:
        shapes = f"hidden {tuple(hidden.shape)} and weight {tuple(weight.shape)}"
        raise ValueError(f"need at least one sample, unit and output; got {shapes}")
    found = hidden.shape[0 if hidden.ndim == 2 else 1]
    if found != weight.shape[1]:
        raise ValueError(f"need hidden with the {weight.shape[1]} units of weight; got {found}")
    x, weights = cast(hidden, weight)
    if weight.ndim == 2:
        if (stride, padding, dilation) != (1, 0, 1):
            raise ValueError(
                f"need images for stride, padding and dilation; got hidden of shape {tuple(hidden.shape)}"
            )
        return Dense(weight.shape[1], weight.shape[0]), weights, swap(x)
    window = {"stride": stride, "padding": padding, "dilation": dilation}
    layer = Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), **window)
    layer.output_shape(tuple(hidden.shape[1:]))  # raises where the kernel does not fit
    return layer, weights, x
