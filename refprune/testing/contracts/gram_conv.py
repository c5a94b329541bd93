"""`gram-conv`: the Gram matrix of the patches that a convolution multiplies with its weight."""

from numbers import Integral

import numpy as np

from ...definitions.gram_conv import gram_conv as by_positions
from .. import checks, make, transforms
from ..contract import CheckSpec, Contract
from ..views import View
from . import gram
from .gram_conv_mistakes import MISTAKES, rows_of

ARGUMENTS = ("batches", "kernel", "stride", "padding", "dilation", "groups")
FLAGS = (
    "ConvPadding",
    "ConvStride",
    "ConvDilation",
    "ConvGroups",
    "Depthwise",
    "UnequalBatches",
    "OneSample",
    "EmptyBatch",
    "DeadInput",
    "Square",
    "LossScale",
    "NonContiguous",
    "ReadOnly",
    "Transposed",
    "NaN",
    "Inf",
    "Empty",
    "WrongShape",
    "KernelTooLarge",
    "GroupsRemainder",
)
ONE, NONE = (1, 1), (0, 0)
SHAPES = (  # (images, channels, height, width), then the other arguments
    ((3, 4, 5, 6), (2, 2), ONE, NONE, ONE, 1),
    ((4, 1, 7, 5), (3, 2), ONE, NONE, ONE, 1),
    ((5, 4, 4, 4), ONE, (2, 1), (0, 1), ONE, 2),
    ((3, 2, 5, 4), (5, 4), ONE, NONE, ONE, 1),  # one position
    ((8, 2, 6, 6), (3, 3), ONE, ONE, ONE, 1),  # more than 256 rows
    ((3, 1, 2, 3), (4, 3), ONE, (2, 1), ONE, 1),  # the kernel fits only with the padding
    ((6, 2, 8, 7), (3, 2), (2, 3), NONE, ONE, 1),  # pixels are left over at the end
    ((4, 2, 9, 8), (2, 3), ONE, NONE, (2, 3), 1),
    ((3, 4, 5, 6), (3, 3), ONE, ONE, ONE, 2),
    ((4, 3, 6, 5), (3, 2), (2, 1), (1, 0), ONE, 3),
    ((5, 6, 7, 7), (2, 2), (2, 1), (1, 2), (2, 1), 3),
    ((1, 2, 6, 5), (3, 3), (2, 3), (2, 1), (1, 2), 1),
)


class ConvView(View):
    """The patches as samples: (images * positions, columns), for several groups a stack, in float64."""

    def __init__(self, problem, claims):
        batches = problem["batches"]
        if not isinstance(batches, list) or not batches:
            super().__init__({**problem, "batches": [np.zeros((0, 0, 0, 0))]}, claims, "batches")
            self.expect("error", "batches is not a list of at least one array")
            return
        super().__init__(problem, claims, "batches")
        arrays = [np.asarray(batch) for batch in batches]
        if any(array.ndim != 4 for array in arrays) or len({array.shape[1] for array in arrays}) > 1:
            shapes = [array.shape for array in arrays]
            self.expect("error", f"batches have shapes {shapes}; (images, channels, height, width) is needed")
        elif any(array.dtype.kind != "f" for array in arrays):
            self.expect("error", "batches hold no real floating numbers")
        elif sum(array.shape[0] for array in arrays) == 0:
            self.expect("error", "batches hold no image")
        elif not all(np.isfinite(array).all() for array in arrays):
            self.expect("error", "batches hold NaN or Inf")
        elif self._geometry(arrays):
            arguments = [_pair(problem[name]) for name in ARGUMENTS[1:5]]
            samples = rows_of([array.astype(float) for array in arrays], *arguments, problem["groups"])
            self.samples = samples[0] if problem["groups"] == 1 else samples

    def _geometry(self, arrays):
        """Bad input unless kernel, stride, padding, dilation and groups fit the images."""
        pairs = []
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            pair = _pair(self.problem[name])
            if pair is None or min(pair) < least:
                text = f"{name} is {self.problem[name]!r}; two integers of at least {least} are needed"
                self.expect("error", text)
                return False
            pairs.append(pair)
        groups, channels = self.problem["groups"], arrays[0].shape[1]
        if isinstance(groups, bool) or not isinstance(groups, Integral) or groups < 1 or channels % groups:
            self.expect("error", f"groups is {groups!r}; a divisor of {channels} channels is needed")
            return False
        kernel, _, padding, dilation = (np.array(pair) for pair in pairs)
        extent = dilation * (kernel - 1) + 1
        if channels == 0 or any((extent > array.shape[2:] + 2 * padding).any() for array in arrays):
            self.expect("error", f"the kernel's extent {tuple(extent)} does not fit into the padded images")
            return False
        return True


def _pair(value):
    """(height, width), or None for what is no integer and no pair of integers."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    good = all(isinstance(side, Integral) and not isinstance(side, bool) for side in pair)
    return pair if len(pair) == 2 and good else None


def _reference(batches, kernel, stride, padding, dilation, groups):
    """The definition, one position at a time."""
    images = np.concatenate([batch.astype(float) for batch in batches])
    if len(images) == 0:
        raise ValueError("need at least one image in batches; got none")
    return by_positions(images, kernel, stride, padding, dilation, groups)


def _suits(flag, shape):
    """The geometries on which a flag makes sense."""
    (images, channels, height, width), kernel, stride, padding, dilation, groups = shape
    wanted = {
        "ConvPadding": padding != NONE,
        "ConvStride": stride != ONE,
        "ConvDilation": dilation != ONE,
        "ConvGroups": 1 < groups < channels,
        "Depthwise": 1 < groups == channels,
        "UnequalBatches": images > 3,
        "OneSample": images > 1,
        "EmptyBatch": images > 1,
        "DeadInput": channels > 1,
        "Square": height == width and kernel[0] == kernel[1] > 1,
        "WrongShape": images > 1,
        "GroupsRemainder": channels > 1,
    }
    return wanted.get(flag, True)


def _sizes(shape):
    """(images, columns of the Gram) of a geometry."""
    (images, channels, _, _), kernel, *_, groups = shape
    return images, channels // groups * kernel[0] * kernel[1]


def _build(flag, shape, rng, dtype):
    (images, channels, height, width), *geometry = shape
    x = make.weights(rng, images * channels, height * width, flag).reshape(images, channels, height, width)
    x += 0.5 * rng.normal(size=(channels, height, width))  # nothing is centred, no pixel is like another
    if flag == "DeadInput":
        x[:, rng.integers(channels)] = 0.0
    cuts = np.sort(rng.integers(1, images + 1, size=min(3, images))) if images > 1 else np.array([], int)
    if flag == "UnequalBatches":
        cuts = np.array([1])
    if flag == "OneSample":
        cuts = np.arange(1, images)
    if flag == "EmptyBatch":
        cuts = np.array([1, 1])
    batches = [make.layout(rng, batch.astype(dtype), flag) for batch in np.split(x, cuts)]
    if flag != "EmptyBatch":
        batches = [batch for batch in batches if batch.shape[0]]
    problem = dict(zip(ARGUMENTS, (batches, *geometry), strict=True))
    if flag in ("NaN", "Inf"):
        batches[-1] = make.spoil(rng, batches[-1], flag)
    elif flag == "Empty":
        problem["batches"] = [np.zeros((0, channels, height, width), dtype)]
    elif flag == "WrongShape":
        batches.append(np.ones((1, channels + 1, height, width), dtype))
    elif flag == "KernelTooLarge":
        padding, dilation = problem["padding"], problem["dilation"]
        problem["kernel"] = (problem["kernel"][0], (width + 2 * padding[1]) // dilation[1] + 2)
    elif flag == "GroupsRemainder":
        problem["groups"] = channels - 1 if channels > 2 else channels + 1
    return problem


CONTRACT = Contract(
    name="gram-conv",
    arguments=ARGUMENTS,
    returns=("gram",),
    promises=(
        "every entry of `X^T X / samples` to rounding; the rows of X are the patches that the convolution multiplies "
        "with its weight, of all images at all output positions",
        "for several groups a stack, one Gram for each group's channels",
        "the same for any split of the images into batches",
    ),
    readings=(
        "`batches` is a list of arrays (images, channels, height, width); one may be empty, all may not",
        "`kernel`, `stride`, `padding` and `dilation` are pairs (height, width); `groups` is an integer",
        "padding adds zeros on both sides; a padded position counts like any other",
        "a window that does not fit whole into the padded image is left out",
        "samples are images * output positions",
        "columns are in C order of (channel of the group, kernel row, kernel column): those of the weight "
        "(outputs, channels / groups, height, width) flattened",
        "one group gives a 2-D array (columns, columns), several a stack (groups, columns, columns)",
    ),
    tolerance="`(n + 4) eps |X|^T |X| / n` entrywise (Higham, section 3.1), eps of the coarser of the two dtypes",
    ties="none",
    reference=_reference,
    checks=(
        *checks.BEFORE,
        CheckSpec(
            "form",
            "well-formed",
            "a square matrix (a stack of them) of the batches' dtype or float64",
            gram.form,
        ),
        checks.FINITE,
        CheckSpec("equal", "equal", "every entry equals that of X^T X / samples", gram.equal),
        *checks.AFTER,
    ),
    mistakes=MISTAKES,
    view=ConvView,
    flags=FLAGS,
    shapes=SHAPES,
    build=_build,
    suits=_suits,
    sizes=_sizes,
    axes={"batches": ("image", "channel", "row", "column")},
    transforms=(
        transforms.scale,
        transforms.batch_split,
        transforms.one_group_alone,
        transforms.duplicated_samples,
        transforms.transposed_images,
    ),
    example="""def gram_conv(batches, kernel, stride, padding, dilation, groups):
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = kernel, stride, padding, dilation
    x = np.concatenate(batches).astype(float)
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (dh * (kh - 1) + 1, dw * (kw - 1) + 1), (2, 3))
    windows = windows[:, :, ::sh, ::sw, ::dh, ::dw]  # (images, channels, height, width, kh, kw)
    images, channels, height, width = windows.shape[:4]
    rows = windows.transpose(1, 4, 5, 0, 2, 3).reshape(groups, channels // groups * kh * kw, -1)
    gram = rows @ rows.transpose(0, 2, 1) / (images * height * width)
    return gram[0] if groups == 1 else gram""",
)
