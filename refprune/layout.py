"""How a weight is laid out for a pattern: rows, inputs, kernel positions; and the cut that patterns share."""

from math import prod

from refprune.arrays import boolean, namespace, plain, real, smallest, to_numpy, transpose


def dims(shape):
    """Return `shape` as (rows, inputs, positions): positions are those of a convolution kernel, else 1."""
    if len(shape) not in (1, 2, 4):
        raise ValueError(f"need a weight with 1, 2 or 4 dimensions; got shape {tuple(shape)}")
    rows, inputs, *kernel = shape if len(shape) > 1 else (1, *shape)
    return rows, inputs, prod(kernel)


def along_inputs(array):
    """View `array` as (rows, positions, inputs)."""
    rows, inputs, positions = dims(array.shape)
    xp = namespace(array)
    return transpose(xp.reshape(array, (rows, inputs, positions)), (0, 2, 1))


def back(array, shape):
    """Undo `along_inputs`: (rows, positions, inputs) to `shape`."""
    return namespace(array).reshape(transpose(array, (0, 2, 1)), shape)


def given(scores, prior):
    """Validate what `mask` takes; boxes of autograd are opened, since a mask has no derivative."""
    scores = plain(real("scores", scores, ndim=(1, 2, 4)))
    if prior is not None:
        boolean("prior", prior, shape=tuple(scores.shape))
        namespace(scores, prior)
    return scores, prior


def check_scope(pattern, allowed):
    """Raise unless the pattern's scope is None or one of `allowed`."""
    if pattern.scope not in (None, *allowed):
        raise ValueError(f"need scope to be one of {', '.join(allowed)}; got {pattern.scope!r}")


def prune(scores, count, zeros, per):
    """Keep all but the `count` smallest along the last axis; entries marked in `zeros` go first."""
    if zeros is not None and 0 not in zeros.shape:
        held = int(to_numpy(zeros).sum(axis=-1).max())
        if held > count:
            raise ValueError(
                f"need at least {held} units pruned per {per}, as many as the prior mask prunes; got {count}"
            )
    return namespace(scores).logical_not(smallest(scores, count, zeros))
