r"""A better support for WoodFisher by iterative hard thresholding on its regression form.

Model: the q of `refprune.methods.fisher_model`.
Problem: least q among the v whose zeros a pattern allows.
Solution: ``v <- T(v - t grad q)``, T the largest that the pattern allows. Along the gradient on the support t is the
exact line search; where the support changes, the best of ``4 t, 2 t, ...`` counts, and only when q falls. Where
nothing falls any more v moves to the minimiser on its support (the back-solve), and the search goes on from there.
The search starts at the largest weights. Of its end and the starts that are given, each with its back-solve, the best
is the answer.
Cost: three products with G for each step and one for each trial, and a back-solve for each support that stays.
Source: Benbaki et al. 2023, Fast as CHITA, section 3; the search along t is a grid here, not their piecewise one.
"""

from refprune.arrays import namespace

LONGER, TRIALS = 4.0, 40  # the first step, in units of the line search, and how often it is halved
ENOUGH = 1e-7  # what a step must bring, as a share of the value at the start


def thresholding(model, choose, starts, max_iter):
    """(mask (d,), values): the best of the masks `starts` and of what the search finds from the first of them.

    The last start is the answer where the others are not lower by more than rounding. The values are those of q on
    the way; the last one is that of the minimiser on the mask. `choose(scores)` gives the mask of the largest scores
    that the pattern allows; `max_iter` counts the steps.
    """
    ends = [(kept, [model.value(model.best(kept))]) for kept in starts]
    least, base = ends[-1], ends[-1][1][0]
    for end in (*ends[:-1], _descend(model, choose, starts[0], max_iter)):
        if end[1][-1] < min(least[1][-1], base - 1e-12 * abs(base)):
            least = end
    return least


def _descend(model, choose, kept, max_iter):
    """(mask, values) from the weights on `kept`."""
    v = namespace(kept).where(kept, model.weight, 0)
    values, solved = [model.value(v)], False
    for _ in range(max_iter):
        found = _step(model, choose, v, kept, values[-1], ENOUGH * abs(values[0]))
        if found is None and solved:
            break
        solved = found is None
        if solved:
            v = model.best(kept)
            values.append(model.value(v))
        else:
            value, v, kept = found
            values.append(value)
    return kept, values if solved else [*values, model.value(model.best(kept))]


def _step(model, choose, v, kept, value, least):
    """(value, v, mask) after the best step along the gradient; None where q falls by less than `least`."""
    xp, slope = namespace(v), model.gradient(v)
    along = xp.where(kept, slope, 0)
    if _square(along) <= 1e-12 * _square(slope):  # the back-solve was here
        along = xp.where(choose(abs(slope)), slope, 0)
    curvature = model.curvature_along(along)
    if not curvature > 0:
        return None
    exact, best = _square(along) / curvature, None
    t = LONGER * exact
    for _ in range(TRIALS):
        moved = v - t * slope
        mask = choose(abs(moved))
        new = xp.where(mask, moved, 0)
        new_value = model.value(new)
        if best is not None and new_value >= best[0]:
            break
        if new_value < value - least and (best is None or new_value < best[0]):
            best = new_value, new, mask
        if best is None and t <= exact and bool(xp.all(mask == kept)):
            break  # on this support no shorter step does better
        t /= 2
    return best


def _square(v):
    """``v . v``, a float."""
    return float(namespace(v).sum(v * v))
