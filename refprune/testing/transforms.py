"""Invariances: a whole call is transformed into another whose right answers are known to correspond.

The transformed call is judged by its own ladder, so that other tie breaks stay right. X and W are scaled by powers
of two, H and losses by powers of four; counts follow appended dead inputs. A transform returns None where it does
not apply.
"""

import numpy as np

from ..patterns import prune_count
from .operators import Operator


def scale(contract, problem, rng):
    """Weights times a power of two, Hessians and Grams times a power of four, near and far."""
    first = next(iter(problem.values()))
    double = (first[0] if isinstance(first, list) else first).dtype == np.float64
    powers = [-40, -20, 3, 20, 40] if double else [-20, -10, 3, 10, 20]
    out = dict(problem)
    for name, power in (
        ("weight", 1),
        ("hidden", 1),
        ("scores", 1),
        ("gram", 2),
        ("hessian", 2),
        ("diagonal", 2),
        ("batches", 1),
        ("matvec", 2),
        ("b", 1),
    ):
        if name in out:
            factor = 2.0 ** (power * int(rng.choice(powers)))
            out[name] = _each(out[name], lambda a, factor=factor: (a * factor).astype(a.dtype))
    return out


def signs(contract, problem, rng):
    """Flip the sign of some inputs (and of the weights that read them) and of some rows; a diagonal stays."""
    sizes = _sizes(contract, problem)
    flip = {axis: rng.choice([-1.0, 1.0], size=sizes[axis]) for axis in ("row", "column") if axis in sizes}

    def flipped(array, axes):
        for position, axis in enumerate(axes):
            if axis in flip and array.dtype.kind == "f":
                array = array * _along(flip[axis], position, array.ndim)
        return array

    out = _map(contract, problem, flipped)
    return {**out, "diagonal": problem["diagonal"]} if "diagonal" in problem else out


def rows(contract, problem, rng):
    """Permute the rows."""
    size = _sizes(contract, problem).get("row", 0)
    return permuted(contract, problem, {"row": rng.permutation(size)}) if size > 1 else None


def columns(contract, problem, rng):
    """Permute the inputs; whole groups or blocks where the contract has them."""
    size = _sizes(contract, problem).get("column", 0)
    width = problem.get("m", problem.get("size", 1))
    if size < 2 or width < 1 or size % width or size == width:
        return None
    order = np.arange(size).reshape(-1, width)[rng.permutation(size // width)].ravel()
    return permuted(contract, problem, {"column": order})


def dead_input(contract, problem, rng):
    """Append dead inputs with weights of their own, and raise the count by them."""
    size = _sizes(contract, problem).get("column", 0)
    width = problem.get("m", problem.get("size", 1))
    weight = problem["weight"]
    added = (*weight.shape[:-1], size + width)
    if added not in contract.shapes:  # a run keeps to its palette of shapes
        return None

    def grown(array, axes):
        for position, axis in enumerate(axes):
            if axis == "column":
                pad = [(0, width if i == position else 0) for i in range(array.ndim)]
                array = np.pad(array, pad)
        return array

    out = _map(contract, problem, grown)
    fresh = (1.0 + rng.random((*weight.shape[:-1], width))).astype(weight.dtype)
    out["weight"] = np.concatenate([weight, fresh], axis=-1)
    if "groups" in out:
        out["groups"] = np.concatenate([problem["groups"], np.full(width, int(problem["groups"].max()) + 1)])
    if "sparsity" in out:
        out["sparsity"] = _raised_sparsity(contract, problem, width)
    return out


def _raised_sparsity(contract, problem, width):
    """The sparsity that prunes what `problem` prunes and all the dead weights as well."""
    weight, size = problem["weight"], problem.get("size", 1)
    per_row = weight.shape[-1] // size
    total = per_row if contract.per_row else per_row * weight.shape[0]
    dead = 1 if contract.per_row else weight.shape[0]
    count = prune_count(problem["sparsity"], total)
    return (count + dead) / (total + dead)


def another_count(contract, problem, rng):
    """The same arrays with another count: what a call left behind must not matter."""
    out = dict(problem)
    if "keep" in out:
        first = contract.arguments[0]
        top = len(np.unique(problem["groups"])) if "groups" in out else problem[first].size
        out["keep"] = int(rng.integers(0, top + 1))
    elif "sparsity" in out:
        out["sparsity"] = float(rng.choice([0.2, 0.4, 0.6, 0.8]))
    elif "n" in out:
        out["n"] = int(rng.integers(0, out["m"] + 1))
    return out


def another_hessian(contract, problem, rng):
    """The same weights with another Hessian."""
    name = "gram" if "gram" in problem else "hessian"
    size = problem[name].shape[0]
    order = np.roll(rng.permutation(size), 1)
    return {**problem, name: np.array(problem[name])[np.ix_(order, order)]} if size > 1 else None


def another_block_size(contract, problem, rng):
    """The same layer in blocks of another size."""
    return {
        **problem,
        "block_size": int(rng.choice([k for k in (1, 2, 3, 5, 7, 128) if k != problem["block_size"]])),
    }


def another_damping(contract, problem, rng):
    """The same layer with more damping: what was kept for its Gram is of no use."""
    return {**problem, "damp": 2 * problem["damp"] + float(rng.choice([0.0625, 0.125, 0.25]))}


def batch_split(contract, problem, rng):
    """The same samples in other batches and another order."""
    samples = np.concatenate(problem["batches"])
    samples = samples[rng.permutation(samples.shape[0])]
    half = [batch.shape[0] for batch in problem["batches"]]
    return {**problem, "batches": list(np.split(samples, np.cumsum(rng.permutation(half))[:-1]))}


def duplicated_samples(contract, problem, rng):
    """Every batch twice: the mean does not change."""
    return {**problem, "batches": [*problem["batches"], *[batch.copy() for batch in problem["batches"]]]}


def one_group_alone(contract, problem, rng):
    """One group of a convolution's channels, as a convolution of its own."""
    groups = problem["groups"]
    if groups == 1:
        return None
    width = problem["batches"][0].shape[1] // groups
    first = width * int(rng.integers(groups))
    batches = [np.array(batch[:, first : first + width]) for batch in problem["batches"]]
    return {**problem, "batches": batches, "groups": 1}


def transposed_images(contract, problem, rng):
    """Images on their side, and the geometry with them."""
    pairs = {name: problem[name][::-1] for name in ("kernel", "stride", "padding", "dilation")}
    return {**problem, "batches": [batch.swapaxes(2, 3).copy() for batch in problem["batches"]], **pairs}


def permuted(contract, problem, orders):
    """Every array with its named axes reordered."""

    def reorder(array, axes):
        for position, axis in enumerate(axes):
            if axis in orders:
                array = np.take(array, orders[axis], axis=position)
        return array

    return _map(contract, problem, reorder)


def _map(contract, problem, function):
    out = dict(problem)
    for name, axes in contract.axes.items():
        out[name] = _each(problem[name], lambda a, axes=axes: function(np.array(a), axes).astype(a.dtype))
    return out


def _each(value, function):
    if isinstance(value, Operator):
        return Operator(function(value.matrix))
    return [function(item) for item in value] if isinstance(value, list) else function(value)


def _along(vector, position, ndim):
    return vector.reshape([-1 if i == position else 1 for i in range(ndim)])


def _sizes(contract, problem):
    sizes = {}
    for name, axes in contract.axes.items():
        value = problem[name][0] if isinstance(problem[name], list) else problem[name]
        for axis, size in zip(axes, np.shape(value), strict=True):
            sizes.setdefault(axis, size)
    return sizes
