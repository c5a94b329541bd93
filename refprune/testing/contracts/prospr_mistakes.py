"""Known mistakes of ProsPr: in the steps, in the way back through them, in what is scored."""

from dataclasses import replace

import numpy as np

from refprune.definitions.prospr import prospr_scores
from refprune.definitions.snip import flattened, switched, unflattened

from ..contract import Mistake
from ..diagnosis import wide
from .network_vectors import remembered, right
from .prospr_parts import LOSS
from .snip_mistakes import forms

NAMES = ("layers", "params", "batches", "lr", "momentum")
KEPT = 128  # answers


def kept(call):
    """The same function, which keeps its last answers: a diagnosis asks for them again and again."""
    found = remembered(call, KEPT)
    return lambda *arguments: {key: scores.copy() for key, scores in found(*arguments).items()}


@kept
def prospr(layers, params, batches, lr, momentum):
    """The definition, in float64; scores in the dtype of the samples."""
    found = prospr_scores(layers, wide(params), wide(batches), LOSS, lr, momentum)
    return {key: scores.astype(batches[0][0].dtype) for key, scores in found.items()}


def gradient(layers, params, x, y):
    """Of the mean loss."""
    return right("per_sample_gradients")(layers, params, x, y, LOSS).mean(0)


def hessian(layers, params, x, y):
    """Of the mean loss."""
    return right("hessian")(layers, params, x, y, LOSS)


class Way:
    """The steps and the way back, right but for what a subclass or `changes` says.

    Attributes
    ----------
    points : list of dict
        The parameters at which each batch is met.
    """

    def __init__(self, layers, params, batches, lr, momentum, **changes):
        self.layers, self.params, self.batches, self.lr, self.momentum = layers, params, batches, lr, momentum
        self.back = changes.pop("back", momentum)  # momentum on the way back
        self.changes, self.points = changes, []
        self.w = flattened(params)
        theta, b = self.w, 0.0
        for x, y in batches[:-1]:
            self.points.append(unflattened(theta, params))
            g = gradient(layers, self.points[-1], x, y) * changes.get("moving", 1.0)
            b = momentum * b + (1 - changes.get("dampening", 0.0)) * g
            theta = theta - lr * (g + momentum * b if changes.get("nesterov") else b)
        self.points.append(unflattened(theta, params))

    def product(self, t, a):
        """The Hessian of step t times a."""
        at = self.params if self.changes.get("at_start") else self.points[t]
        batch = self.batches[-1 if self.changes.get("outer") else t]
        if self.changes.get("fisher"):
            own = right("per_sample_gradients")(self.layers, at, *batch, LOSS)
            return own.T @ (own @ a) / len(own)
        H = (right("gauss_newton")(self.layers, at, *batch, LOSS) if self.changes.get("gauss_newton")
             else hessian(self.layers, at, *batch))  # fmt: skip
        return H @ a * self.changes.get("moving", 1.0)

    def slope(self):
        """The derivative (d,) of the last loss in the parameters before the steps."""
        v, a = gradient(self.layers, self.points[-1], *self.batches[-1]), 0.0
        steps = len(self.batches) - 1
        first = max(steps - 1, 0) if self.changes.get("one_step") else 0
        for t in reversed(range(first, steps)):
            a = self.back * a - self.changes.get("rate", self.lr) * v
            v = v + self.product(t, a)
        return v

    def scores(self, v):
        """`|w v|` of every weight, in the dtype of the samples."""
        return weights_of(abs(self.w * v), self)


def given(**changes):
    """The scores of a way with something changed."""

    def call(layers, params, batches, lr, momentum):
        way = Way(layers, params, batches, lr, momentum, **changes)
        return way.scores(way.slope())

    return call


def of_way(score):
    """`score(way)`, on the right way."""
    return lambda *call: score(Way(*call))


def without_momentum(layers, params, batches, lr, momentum):
    """The momentum is dropped."""
    return given()(layers, params, batches, lr, 0.0)


def detached(layers, params, batches, lr, momentum):
    """As in the published code."""
    return prospr_scores(layers, params, batches, LOSS, lr, momentum, detach_first=True)


def first_order(layers, params, batches, lr, momentum):
    """No Hessian at all."""
    return prospr_scores(layers, params, batches, LOSS, lr, momentum, first_order=True)


def biases_frozen(layers, params, batches, lr, momentum):
    """Biases take no step."""
    moving = {key: np.full(a.shape, float(not key.endswith("bias"))) for key, a in params.items()}
    return given(moving=flattened(moving))(layers, params, batches, lr, momentum)


def outer_first(layers, params, batches, lr, momentum):
    """The first batch is the outer one."""
    return given()(layers, params, [*batches[1:], batches[0]], lr, momentum)


def one_step_more(layers, params, batches, lr, momentum):
    """The last batch takes a step, too, and is met once more."""
    return given()(layers, params, [*batches, batches[-1]], lr, momentum)


def same_batch(layers, params, batches, lr, momentum):
    """Every step sees the first batch."""
    return given()(layers, params, [*[batches[0]] * (len(batches) - 1), batches[-1]], lr, momentum)


def last_step_left_out(layers, params, batches, lr, momentum):
    """One step fewer is taken: the loop ends too early."""
    return given()(layers, params, [*batches[:-2], batches[-1]], lr, momentum)


def snip_of_last(layers, params, batches, lr, momentum):
    """SNIP on the last batch."""
    return given()(layers, params, batches[-1:], lr, momentum)


def summed(way):
    """The sizes of the slopes of all batches add up, each at its point."""
    v = [gradient(way.layers, at, *batch) for at, batch in zip(way.points, way.batches, strict=True)]
    return way.scores(sum(abs(g) for g in v))


def switched_again(way):
    """The switches act in every forward pass, on what the steps have made of the weights."""
    J = B = np.zeros((way.w.size, way.w.size))  # of the parameters and of b in the switches
    for at, batch in zip(way.points[:-1], way.batches, strict=False):
        g, seen = gradient(way.layers, at, *batch), J + np.diag(flattened(at))
        B = way.momentum * B + hessian(way.layers, at, *batch) @ seen + np.diag(g)
        J = J - way.lr * B
    last = way.points[-1]
    slope = gradient(way.layers, last, *way.batches[-1]) @ (J + np.diag(flattened(last)))
    return weights_of(abs(slope), way)


def weights_of(found, way):
    """The entries (d,) of weights, as a dict, in the dtype of the samples."""
    found = unflattened(found, way.params)
    return {key: found[key].astype(way.batches[0][0].dtype) for key in switched(way.params)}


def trained_weights(way):
    """The weights after the training stand for those before it."""
    return weights_of(abs(flattened(way.points[-1]) * way.slope()), way)


def signed(way):
    """The sign of the derivative is kept."""
    return weights_of(way.w * way.slope(), way)


def unweighted(way):
    """Without the factor w."""
    return weights_of(abs(way.slope()), way)


def sum_over_samples(layers, params, batches, lr, momentum):
    """The last loss is a sum over its samples."""
    found = prospr(layers, params, batches, lr, momentum)
    return {key: scores * len(batches[-1][0]) for key, scores in found.items()}


WRONG = (
    Mistake("first-momentum-detached", "the first momentum buffer is taken for a constant, which loses the Hessian of "
            "the first step: so does the published code", detached),
    Mistake("first-order", "the Hessians of the steps are left out", first_order),
    Mistake("momentum-not-differentiated", "the momentum takes part in the steps and not in their derivative",
            given(back=0.0)),
    Mistake("momentum-left-out", "the steps have no momentum", without_momentum),
    Mistake("momentum-dampened", "`b_t = m b + (1 - m) g`", lambda *call: given(dampening=call[4])(*call)),
    Mistake("nesterov", "the steps are Nesterov's", given(nesterov=True)),
    Mistake("one-step-back", "the derivative goes through the last step alone", given(one_step=True)),
    Mistake("rate-left-out", "the derivative takes the step length for 1", given(rate=1.0)),
    Mistake("hessian-at-the-start", "all Hessians are those of the parameters before the steps",
            given(at_start=True)),
    Mistake("hessian-of-the-outer-batch", "all Hessians are those of the last batch", given(outer=True)),
    Mistake("gauss-newton", "the Gauss-Newton matrix stands for the Hessian", given(gauss_newton=True)),
    Mistake("fisher", "the empirical Fisher matrix stands for the Hessian", given(fisher=True)),
    Mistake("biases-frozen", "biases take no step", biases_frozen),
    Mistake("outer-batch-first", "the loss is that of the first batch, the steps see the others", outer_first),
    Mistake("one-step-more", "a step is taken on the last batch, too", one_step_more),
    Mistake("last-step-left-out", "one step fewer is taken", last_step_left_out),
    Mistake("same-batch-each-step", "every step sees the first batch", same_batch),
    Mistake("snip", "the slope at the start, on the last batch", snip_of_last),
    Mistake("sizes-summed", "the sizes of the slopes on all batches are added", of_way(summed)),
    Mistake("switches-in-every-step", "the switches act in every forward pass, not once before the first step",
            of_way(switched_again)),
    Mistake("trained-weights", "the factor is the weight after the steps", of_way(trained_weights)),
    Mistake("without-the-weight", "the factor w is forgotten", of_way(unweighted)),
    Mistake("signed", "the sign of the derivative is kept", of_way(signed)),
    Mistake("sum-over-samples", "the last loss is a sum over its samples", sum_over_samples),
)  # fmt: skip
MISTAKES = (*(replace(mistake, call=kept(mistake.call)) for mistake in WRONG), *forms(prospr))
