r"""Mini-batches for the stochastic form of I-OBS.

Model: an objective that adds up over N samples, :math:`f = \sum_s f_s` (least squares) or :math:`\frac1N \sum_s f_s`
(the loss of a network).
Problem: its gradient and its curvature from a few samples each, right on average.
Solution: b samples drawn without replacement for the gradient, and others, drawn apart from these, for the
curvature; sums are multiplied by N / b. The curvature is the Hessian, the Gauss-Newton matrix or the empirical Fisher
matrix, whole or in diagonal blocks.
Cost: that of a gradient of b samples, and of a matrix from the others.
Source: Wu, Modoranu, Safaryan, Kuznedelev, Alistarh 2024, The Iterative Optimal Brain Surgeon, the stochastic form.
"""

import numpy as np

from refprune.arrays import Array, cast, from_numpy, integer
from refprune.curvature import empirical_fisher
from refprune.network import NetworkLoss
from refprune.problems import LeastSquares

CURVATURES = ("hessian", "gauss_newton", "fisher")


class MiniBatches:
    r"""Draws what a step of `iobs` needs from mini-batches: its argument `sample`.

    Parameters
    ----------
    objective : LeastSquares or NetworkLoss
        The same that `iobs` gets.
    batch : int
        How many samples a gradient is taken from, drawn without replacement.
    curvature : {"hessian", "gauss_newton", "fisher"}
        The empirical Fisher matrix is the mean (for least squares the sum) of :math:`g_s g_s^T` over the gradients
        :math:`g_s` of single samples; the Gauss-Newton matrix of least squares is its Hessian.
    curvature_batch : int, optional
        How many samples the curvature is taken from; None is `batch`. They are drawn after those of the gradient, and
        independently of them.
    block : int, optional
        Keep only the diagonal blocks of this size, the last one may be smaller: a tuple of blocks.

    Raises
    ------
    TypeError
        Another kind of objective; a size that is no integer. When called: `rng` is no numpy.random.Generator.
    ValueError
        A batch below 1 or above the number of samples; a `block` below 1; an unknown curvature.

    Notes
    -----
    On average over draws, gradient, Hessian, Gauss-Newton and Fisher matrices are those of all samples; with all
    samples in a batch they are those, in another order of summation. A Fisher matrix of fewer samples than weights is
    singular, and so is a Hessian of least squares: `iobs` needs ``damp > 0`` then.

    Cost: a "fisher" in blocks is formed block by block, so a batch's gradients (samples, d) and the blocks are all
    its memory; of a Hessian the whole matrix is formed first.

    Examples
    --------
    Logistic regression is a network of one layer:

    >>> import numpy as np
    >>> import refprune as rp
    >>> rng = np.random.default_rng(0)
    >>> network, x = rp.Network([rp.Dense(6, 2)]), rng.normal(size=(200, 6))
    >>> labels = (x[:, 0] + x[:, 3] > 0).astype(int)
    >>> loss = rp.NetworkLoss(network, x, labels)
    >>> sample = rp.MiniBatches(loss, batch=50, curvature="fisher", block=7)
    >>> answer = rp.iobs(loss, 6, np.zeros(14), steps=3, damp=0.1, rng=rng, sample=sample)
    >>> bool(answer.objective < 0.5 * loss.value(np.zeros(14))), int(answer.mask.sum())
    (True, 6)
    """

    def __init__(
        self,
        objective: LeastSquares | NetworkLoss,
        batch: int,
        curvature: str = "hessian",
        curvature_batch: int | None = None,
        block: int | None = None,
    ):
        if not isinstance(objective, (LeastSquares, NetworkLoss)):
            raise TypeError(
                f"need objective to be a LeastSquares or a NetworkLoss; got {type(objective).__name__}"
            )
        if curvature not in CURVATURES:
            raise ValueError(f"need curvature to be one of {', '.join(CURVATURES)}; got {curvature!r}")
        data = objective.design if isinstance(objective, LeastSquares) else objective.inputs
        self.objective, self.curvature, self.samples = objective, curvature, data.shape[0]
        self.batch = integer("batch", batch, least=1, most=self.samples)
        most = self.batch if curvature_batch is None else curvature_batch
        self.curvature_batch = integer("curvature_batch", most, least=1, most=self.samples)
        self.block = None if block is None else integer("block", block, least=1)

    def __call__(self, w: Array, rng: np.random.Generator) -> tuple:
        """(gradient (d,), curvature) at `w` (d,) from the next two batches of `rng`."""
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"need rng to be a numpy.random.Generator; got {type(rng).__name__}")
        part, factor = self._part(rng, self.batch)
        gradient = part.gradient(w) * factor
        part, factor = self._part(rng, self.curvature_batch)
        if self.curvature == "fisher":
            return gradient, self._fisher(part, w, factor)
        matrix = (part.hessian(w) if self.curvature == "hessian" else _gauss_newton(part, w)) * factor
        if self.block is None:
            return gradient, matrix
        return gradient, tuple(matrix[at, at] for at in _slices(w.shape[0], self.block))

    def _part(self, rng, size):
        """The objective over `size` samples, and what it is multiplied by."""
        f, rows = self.objective, rng.choice(self.samples, size, replace=False)
        if isinstance(f, LeastSquares):
            rows = from_numpy(rows, f.design)
            return LeastSquares(f.design[rows], f.target[rows]), self.samples / size
        rows = from_numpy(rows, f.inputs)
        return NetworkLoss(f.network, f.inputs[rows], f.targets[rows], f.loss, f.params), 1.0

    def _fisher(self, part, w, factor):
        """The empirical Fisher matrix of `part`, or its blocks."""
        if isinstance(part, LeastSquares):
            A, y, w = cast(part.design, part.target, w)
            gradients = A * (A @ w - y)[:, None]
            factor = self.samples
        else:
            values = part.network.unflatten(w, part.params)
            gradients = part.network.per_sample_gradients(values, part.inputs, part.targets, part.loss)
        if self.block is None:
            return empirical_fisher(gradients) * factor
        return tuple(empirical_fisher(gradients[:, at]) * factor for at in _slices(w.shape[0], self.block))


def _gauss_newton(part, w):
    """The Gauss-Newton matrix of `part`."""
    if isinstance(part, LeastSquares):
        return part.hessian(w)
    values = part.network.unflatten(w, part.params)
    return part.network.gauss_newton(values, part.inputs, part.targets, part.loss)


def _slices(d, size):
    """Where the blocks lie: slices of `size`, the last one may be smaller."""
    return [slice(a, min(a + size, d)) for a in range(0, d, size)]
