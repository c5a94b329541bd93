"""Methods, convolutions and certificates for the tests of convolutions."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy.signal import correlate2d

import refprune as rp
from tests.methods.checks import EPS
from tests.methods.problems import condition

LAYER = rp.Unstructured(sparsity=0.4, scope="layer")
ROWS = rp.Unstructured(keep=5, scope="row")
CHANNELS = rp.NM(1, 2)
BLOCKS = rp.Blocks(2, sparsity=0.4, scope="layer")
UNITS = (rp.Groups(sparsity=0.5), rp.Groups(sparsity=0.5, axis=1))


@dataclass(frozen=True)
class Method:
    """A layer-wise method `run(problem, pattern, mask=None)` and the patterns that it takes.

    `alone` are those under which a group of a convolution gets the answer of a layer of its own, once its count
    is given. `moves` says that kept weights move; `refit`, when not None, that they end as the best ones on the
    mask with this damping.
    """

    run: object
    patterns: tuple = (LAYER, ROWS, CHANNELS, BLOCKS, *UNITS)
    alone: tuple = (LAYER, ROWS, CHANNELS, BLOCKS, *UNITS)
    moves: bool = True
    refit: float | None = None


def best_weights(problem, pattern, mask=None):
    """The best weights on Wanda's mask."""
    return rp.optimal_weights(problem, rp.wanda(problem, pattern, mask=mask).mask)


WINDOW = 10**6  # columns: all of them in one block, so that one budget is shared by the rows alone
METHODS = {
    "magnitude": Method(rp.magnitude, moves=False),
    "wanda": Method(rp.wanda, moves=False),
    "obd": Method(rp.obd, moves=False),
    "obs": Method(rp.obs, refit=0.0),
    "obs, damped": Method(partial(rp.obs, damp=0.1, allocation="sorted"), refit=0.1),
    "optimal_weights": Method(best_weights, refit=0.0),
    "sparsegpt": Method(partial(rp.sparsegpt, block_size=5), (LAYER, ROWS, CHANNELS), (ROWS, CHANNELS)),
    "sparsegpt, one block": Method(
        partial(rp.sparsegpt, block_size=WINDOW, refit=True),
        (LAYER, ROWS, CHANNELS),
        (LAYER, ROWS, CHANNELS),
        refit=0.01,
    ),
    "alps": Method(
        rp.alps, alone=(), refit=0.0
    ),  # one penalty for all groups, so their searches are not apart
}


@dataclass(frozen=True)
class Convolution:
    """The geometry of a convolution; `options` are those of `LayerProblem.from_inputs`."""

    out: int = 4
    channels: int = 4
    kernel: tuple = (2, 3)
    options: dict = field(default_factory=dict)

    @property
    def groups(self):
        return self.options.get("groups", 1)

    def problem(self):
        """(weight, images): channels of other sizes, away from zero, and a weight of other rows."""
        rng = np.random.default_rng(70)
        images = rng.normal(size=(6, self.channels, 9, 8)) + rng.normal(size=(self.channels, 1, 1))
        images = images * 2.0 ** rng.integers(-2, 3, size=(self.channels, 1, 1))
        shape = (self.out, self.channels // self.groups, *self.kernel)
        return rng.normal(size=shape) * 2.0 ** rng.integers(-1, 2, size=(self.out, 1, 1, 1)), images

    def layer(self):
        return rp.LayerProblem.from_inputs(*self.problem(), **self.options)


CONVOLUTIONS = {
    "plain": Convolution(),
    "one by one": Convolution(channels=6, kernel=(1, 1)),
    "padding": Convolution(options={"padding": (1, 2)}),
    "padding of one side": Convolution(options={"padding": ((0, 2), (1, 0))}),
    "stride": Convolution(options={"stride": (3, 2)}),
    "dilation": Convolution(options={"dilation": (3, 2)}),
    "one output": Convolution(out=1),
    "groups": Convolution(out=4, channels=8, options={"groups": 2}),
    "all": Convolution(
        out=6, channels=6, options={"groups": 3, "padding": (2, 1), "stride": (1, 2), "dilation": 2}
    ),
    "depthwise": Convolution(out=3, channels=3, options={"groups": 3, "padding": 1}),
    "two filters for each channel": Convolution(out=6, channels=3, options={"groups": 3}),
}


def convolve(weight, images, stride=1, padding=0, dilation=1, groups=1):
    """The convolution by SciPy: padded images, a kernel with zeros between its entries, every stride-th place."""
    pair = lambda value: value if isinstance(value, tuple) else (value, value)  # noqa: E731
    (sh, sw), (dh, dw), sides = pair(stride), pair(dilation), tuple(map(pair, pair(padding)))
    padded = np.pad(images, ((0, 0), (0, 0), *sides))
    out, each, kh, kw = weight.shape
    spread = np.zeros((out, each, dh * (kh - 1) + 1, dw * (kw - 1) + 1))
    spread[:, :, ::dh, ::dw] = weight
    first = np.arange(out) // (out // groups) * each  # the first input channel of each output
    maps = [
        [sum(correlate2d(x[first[o] + c], spread[o, c], "valid") for c in range(each)) for o in range(out)]
        for x in padded
    ]
    return np.array(maps)[:, :, ::sh, ::sw]


def loss_of_outputs(conv, weight, images, pruned):
    """(half the mean squared change of the outputs over images and positions, the scale of its rounding)."""
    change = convolve(pruned - weight, images, **conv.options)
    size = convolve(abs(pruned - weight), abs(images), **conv.options)
    positions = change.shape[0] * change.shape[2] * change.shape[3]
    return np.sum(change**2) / 2 / positions, np.sum(size**2) / 2 / positions


def certify(conv, pattern, answer):
    """The certificate of any answer on images: the pattern's zeros, and what they change in the outputs."""
    weight, images = conv.problem()
    assert answer.weight.shape == answer.mask.shape == weight.shape, "not in the weight's shape"
    assert np.all(answer.weight[~answer.mask] == 0), "a pruned weight is not exactly zero"
    assert pattern.on(conv.layer()).admits(answer.mask), "the pattern does not admit the mask"
    loss, scale = loss_of_outputs(conv, weight, images, answer.weight)
    # sums of at most 6 * 150 positions and 48 columns, in any order: their number times eps
    assert abs(answer.objective - loss) <= 1000 * EPS * scale, (
        f"the objective is {answer.objective}, the outputs change by {loss}"
    )


def matrix_form(problem, pattern):
    """(problem, pattern, sequence of columns): the same as a dense layer, one row for each filter.

    Where the pattern runs along input channels these become consecutive columns; groups become labels.
    """
    shape = problem.weight.shape
    sequence = np.arange(problem.columns)
    if isinstance(pattern, (rp.NM, rp.Blocks)):  # (kernel row, kernel column, channel)
        sequence = np.transpose(sequence.reshape(shape[1:]), (1, 2, 0)).ravel()
    if isinstance(pattern, rp.Groups):
        rows, channels = np.indices(shape)[:2]
        of_group = rows // (problem.rows // problem.groups)
        labels = rows if pattern.axis == 0 else of_group * shape[1] + channels
        pattern = rp.Groups(pattern.sparsity, pattern.keep, labels=labels.reshape(problem.rows, -1))
    gram = problem.gram[..., sequence[:, None], sequence]
    return rp.LayerProblem(problem.matrix[:, sequence], gram), pattern, sequence


def slack(problem):
    """A bound on weights: solves and downdates err by a small multiple of eps cond."""
    grams = problem.gram if problem.gram.ndim == 3 else problem.gram[None]
    return 1e4 * EPS * max(map(condition, grams)) * np.abs(problem.weight).max()
