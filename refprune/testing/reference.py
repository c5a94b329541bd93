"""refprune judged by its own oracle: one thin function for each contract over the public methods.

``refprune check --adapter refprune.testing.reference`` runs them all. This is the one module of the oracle that
imports `refprune.methods`.
"""

import numpy as np

import refprune as rp
from refprune.curvature import conjugate_gradient

NAME = "refprune"
VERSION = rp.__version__

_CLAIM = {"dtypes": ["float16", "float32", "float64"], "validates": True, "deterministic": True}
CLAIMS = {
    name: dict(_CLAIM)
    for name in (
        "topk-mask", "nm-mask", "gram", "gram-conv", "magnitude", "magnitude-nm", "wanda", "wanda-nm", "obd", "obs",
        "obs-groups", "exact-obs", "exact-obs-nm", "exact-obs-blocks", "optimal-weights", "sparsegpt", "sparsegpt-nm",
        "alps", "iht", "htp", "cosamp", "iht-step", "cosamp-step", "iobs-step", "iobs", "ispasp", "cg",
        "fisher-inverse", "woodfisher",
        "hvp", "hessian", "gauss-newton", "per-sample-gradients", "newton-cg", "snip", "prospr",
        "grasp", "synflow-scores",
    )
}  # fmt: skip


def topk_mask(scores, keep):
    """`Unstructured.mask`."""
    return rp.Unstructured(keep=keep).mask(scores)


def nm_mask(scores, n, m):
    """`NM.mask`."""
    return rp.NM(n, m).mask(scores)


def gram(batches):
    """`GramAccumulator`, batch by batch."""
    accumulator = rp.GramAccumulator()
    for batch in batches:
        accumulator.update(batch)
    return accumulator.gram


def gram_conv(batches, kernel, stride, padding, dilation, groups):
    """`GramAccumulator` of a convolution, batch by batch."""
    accumulator = rp.GramAccumulator(kernel, stride, padding, dilation, groups)
    for batch in batches:
        accumulator.update(batch)
    return accumulator.gram


def magnitude(weight, sparsity):
    """`rp.magnitude`, one budget for the layer."""
    return rp.magnitude(weight, rp.Unstructured(sparsity))


def magnitude_nm(weight, n, m):
    """`rp.magnitude` with N:M."""
    return rp.magnitude(weight, rp.NM(n, m))


def wanda(weight, gram, sparsity):
    """`rp.wanda`, one budget for each row."""
    return rp.wanda(rp.LayerProblem(weight, gram), rp.Unstructured(sparsity))


def wanda_nm(weight, gram, n, m):
    """`rp.wanda` with N:M."""
    return rp.wanda(rp.LayerProblem(weight, gram), rp.NM(n, m))


def obd(weight, diagonal, keep):
    """`rp.obd` on a diagonal Hessian."""
    return rp.obd(rp.Quadratic(diagonal, weight), rp.Unstructured(keep=keep))


def obs(weight, hessian, keep):
    """`rp.obs` on a vector."""
    return rp.obs(rp.Quadratic(hessian, weight), rp.Unstructured(keep=keep))


def obs_groups(weight, hessian, groups, keep):
    """`rp.obs` on labelled groups."""
    return rp.obs(rp.Quadratic(hessian, weight), rp.Groups(keep=keep, labels=groups))


def exact_obs(weight, gram, sparsity):
    """`rp.obs` on a layer, one budget for all rows."""
    return rp.obs(rp.LayerProblem(weight, gram), rp.Unstructured(sparsity))


def exact_obs_nm(weight, gram, n, m):
    """`rp.obs` on a layer with N:M."""
    return rp.obs(rp.LayerProblem(weight, gram), rp.NM(n, m))


def exact_obs_blocks(weight, gram, size, sparsity):
    """`rp.obs` on a layer with blocks of inputs."""
    return rp.obs(rp.LayerProblem(weight, gram), rp.Blocks(size, sparsity))


def optimal_weights(weight, gram, mask):
    """`rp.optimal_weights` on a layer."""
    return rp.optimal_weights(rp.LayerProblem(weight, gram), mask)


def sparsegpt(weight, gram, sparsity, block_size, damp):
    """`rp.sparsegpt`, a budget for each block of columns."""
    return rp.sparsegpt(rp.LayerProblem(weight, gram), rp.Unstructured(sparsity), block_size, damp)


def sparsegpt_nm(weight, gram, n, m, block_size, damp):
    """`rp.sparsegpt` with N:M."""
    return rp.sparsegpt(rp.LayerProblem(weight, gram), rp.NM(n, m), block_size, damp)


def alps(weight, gram, sparsity):
    """`rp.alps`, one budget for the layer."""
    return rp.alps(rp.LayerProblem(weight, gram), rp.Unstructured(sparsity))


def iht(design, target, keep, start):
    """`rp.iht`; patient, and once more from its answer, since `tol` is a share of the gradient at the start."""
    problem = rp.LeastSquares(design, target)
    first = rp.iht(problem, keep, start, max_iter=20_000)
    return rp.iht(problem, keep, first.weight, max_iter=20_000)


def htp(design, target, keep, start):
    """`rp.htp`."""
    return rp.htp(rp.LeastSquares(design, target), keep, start)


def cosamp(design, target, keep, start):
    """`rp.cosamp`."""
    return rp.cosamp(rp.LeastSquares(design, target), keep, start)


def iht_step(weight, gradient, step, keep):
    """The mask of `Unstructured` on the point of a gradient step."""
    if not 0 <= step < np.inf:
        raise ValueError(f"need a finite step >= 0; got {step}")
    point = weight - step * gradient
    return np.where(rp.Unstructured(keep=keep).mask(abs(point)), point, point.dtype.type(0))


def cosamp_step(design, target, keep, weight):
    """The masks of `Unstructured`, and `rp.iobs` on the merged columns: its Newton point is their least squares."""
    size, d = abs(rp.LeastSquares(design, target).gradient(weight)), weight.shape[0]
    keep = rp.Unstructured(keep=keep).keep
    merged = rp.Unstructured(keep=min(2 * keep, d)).mask(size) | (weight != 0)
    out = np.zeros_like(weight)
    out[merged] = rp.iobs(
        rp.LeastSquares(design[:, merged], target), keep, weight[merged], project="euclid"
    ).weight
    return out


def iobs_step(weight, gradient, hessian, keep):
    """`rp.iobs`, one step with this gradient and Hessian."""
    model = rp.Quadratic(hessian, weight)
    return rp.iobs(model, keep, start=weight, sample=lambda w, rng: (gradient, hessian)).weight


def ispasp(hidden, weight, keep):
    """`rp.ispasp`, signed and by row sums: what its mask keeps."""
    return np.flatnonzero(rp.ispasp(hidden, weight, keep).mask[0])


def iobs(design, target, keep, start):
    """`rp.iobs` on least squares, one step."""
    return rp.iobs(rp.LeastSquares(design, target), keep, start).weight


def fisher_inverse(gradients, damp):
    """`rp.fisher_inverse`, the whole matrix."""
    return rp.fisher_inverse(gradients, damp)


def woodfisher(weight, gradients, sparsity, damp):
    """`rp.woodfisher`, one budget and the joint update."""
    return rp.woodfisher(weight, gradients, rp.Unstructured(sparsity), damp)


def cg(matvec, b, rtol):
    """`rp.conjugate_gradient`; an error where it gives up above what rounding explains."""
    answer = conjugate_gradient(matvec, b, rtol=rtol, max_iter=5 * b.shape[0])
    if answer.reason in ("negative_curvature", "max_iter"):
        raise np.linalg.LinAlgError(f"need a positive definite matrix; got {answer.reason}")
    return answer.solution


def hvp(layers, params, x, y, loss, v):
    """`Network.hvp`."""
    return rp.Network.from_dicts(layers).hvp(params, x, y, v, loss)


def hessian(layers, params, x, y, loss):
    """`Network.hessian`."""
    return rp.Network.from_dicts(layers).hessian(params, x, y, loss)


def gauss_newton(layers, params, x, y, loss):
    """`Network.gauss_newton`."""
    return rp.Network.from_dicts(layers).gauss_newton(params, x, y, loss)


def per_sample_gradients(layers, params, x, y, loss):
    """`Network.per_sample_gradients`."""
    return rp.Network.from_dicts(layers).per_sample_gradients(params, x, y, loss)


def newton_cg(layers, params, x, layer, mask, horizon):
    """`rp.snows` on one layer, with the Gauss-Newton matrix, to a tenth of what is asked for."""
    network, name = rp.Network.from_dicts(layers), f"{layer}.weight"
    settings = {"curvature": "gauss-newton", "max_iter": 200, "tol": 1e-5, "progress": False}
    answer = rp.snows(network, params, {name: mask}, x, horizon, **settings)
    (row,) = (row for row in answer.report.layers if row.layer == str(layer))
    return {"weight": answer.params[name], "objective": row.after}


def snip(layers, params, x, y, loss):
    """The scores of `rp.snip`, whatever it prunes."""
    network = rp.Network.from_dicts(layers)
    return rp.snip(network, params, (x, y), rp.Unstructured(sparsity=0.5), loss=loss).scores


def prospr(layers, params, batches, lr, momentum):
    """The scores of `rp.prospr`, whatever it prunes."""
    network = rp.Network.from_dicts(layers)
    return rp.prospr(network, params, batches, rp.Unstructured(sparsity=0.5), lr, momentum).scores


def grasp(layers, params, x, y, loss):
    """The scores of `rp.grasp`, whatever it prunes."""
    network = rp.Network.from_dicts(layers)
    return rp.grasp(network, params, (x, y), rp.Unstructured(sparsity=0.5), loss=loss).scores


def synflow_scores(layers, params, input_shape):
    """The scores of `rp.synflow` in one step, whatever it prunes."""
    network = rp.Network.from_dicts(layers)
    return rp.synflow(network, params, input_shape, rp.Unstructured(sparsity=0.5), steps=1).scores
