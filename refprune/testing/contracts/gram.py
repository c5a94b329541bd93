"""`gram`: the Gram matrix of a layer's inputs from a list of batches."""

import numpy as np

from .. import checks, make, transforms
from ..bounds import INPUT_EPS, PRODUCT
from ..contract import CheckSpec, Contract, Mistake, failed, passed
from ..views import View
from . import form_mistakes

FLAGS = (
    "UnequalBatches",
    "OneSample",
    "WiderThanBlock",
    "ManyRows",
    "EmptyBatch",
    "DeadInput",
    "OneColumn",
    "Square",
    "Bias",
    "LossScale",
    "NonContiguous",
    "ReadOnly",
    "Transposed",
    "NaN",
    "Inf",
    "Empty",
)


class GramView(View):
    """The stacked samples (samples, columns) in float64."""

    def __init__(self, problem, claims):
        batches = problem["batches"]
        if not isinstance(batches, list) or not batches:
            super().__init__({"batches": [np.zeros((0, 0))]}, claims, "batches")
            self.expect("error", "batches is not a list of at least one array")
            return
        super().__init__(problem, claims, "batches")
        arrays = [np.asarray(batch) for batch in batches]
        shapes = {array.shape[1:] for array in arrays}
        if len(shapes) > 1 or arrays[0].ndim != 2 or arrays[0].shape[1] == 0:
            self.expect(
                "error", f"batches have shapes {[a.shape for a in arrays]}; (samples, columns) is needed"
            )
        elif any(array.dtype.kind != "f" for array in arrays):
            self.expect("error", "batches hold no real floating numbers")
        elif sum(array.shape[0] for array in arrays) == 0:
            self.expect("error", "batches hold no sample")
        elif not all(np.isfinite(array).all() for array in arrays):
            self.expect("error", "batches hold NaN or Inf")
        else:
            self.samples = np.concatenate([array.astype(float) for array in arrays])


def form(view, answer):
    """A square matrix, or a stack of them, of the batches' dtype or float64."""
    *stack, _, columns = view.samples.shape
    gram, shape = answer.weight, (*stack, columns, columns)
    if gram.shape != shape:
        return failed(f"the Gram has shape {gram.shape}; {shape} is needed")
    if gram.dtype not in (view.dtype, np.dtype(np.float64)):
        return failed(f"the Gram has dtype {gram.dtype}; {view.dtype} or float64 is needed")
    return None


def equal(view, answer):
    """Every entry is that of X^T X / samples, to the rounding of a sum in any order."""
    x, n = view.samples, view.samples.shape[-2]
    right = x.swapaxes(-1, -2) @ x / n
    size = np.abs(x).swapaxes(-1, -2) @ np.abs(x) / n
    eps = max(view.store_eps, np.finfo(answer.weight.dtype).eps)
    # n products and sums of one entry, the division, and the rounding of the inputs to the claimed precision
    eps_in = 2 * INPUT_EPS.get(view.claims.get("input_precision"), 0.0)
    allowed = ((n + PRODUCT) * eps + eps_in) * size + np.finfo(answer.weight.dtype).tiny
    error = np.abs(answer.weight.astype(float) - right)
    with np.errstate(over="ignore"):  # a nonzero entry where a zero is due
        share = error / allowed
    at = np.unravel_index(np.argmax(share), share.shape)
    if share[at] > 1:
        found = float(answer.weight[at])
        where = tuple(map(int, at))
        ratio = f" ({found / right[at]:.4g} times as large)" if right[at] else ""
        text = f"entry {where} is {found:.6g}; X^T X / {n} has {right[at]:.6g}{ratio}"
        return failed(text, float(error[at]), float(allowed[at]))
    return passed(float(error[at]), float(allowed[at]))


def _reference(batches):
    """The definition: one sample at a time."""
    total = np.zeros((batches[0].shape[1],) * 2)
    count = 0
    for batch in batches:
        for sample in batch.astype(float):
            total += np.outer(sample, sample)
            count += 1
    if count == 0:
        raise ValueError("need at least one sample in batches; got none")
    return total / count


def _build(flag, shape, rng, dtype):
    samples, columns = shape
    x = make.weights(rng, samples, columns, flag) @ np.linalg.qr(rng.normal(size=(columns, columns)))[0]
    x += 0.5 * rng.normal(size=columns)  # nothing is centred
    if flag == "DeadInput":
        x[:, rng.integers(columns)] = 0.0
    if flag == "Bias":
        x[:, -1] = 1.0
    cuts = np.sort(rng.integers(1, samples + 1, size=min(3, samples))) if samples > 1 else np.array([], int)
    if flag == "Square":
        cuts = np.array([], int)
    if flag == "EmptyBatch":
        cuts = np.append(cuts, cuts[:1])
    if flag == "OneSample":
        cuts = np.array([1])
    batches = [make.layout(rng, batch.astype(dtype), flag) for batch in np.split(x, np.sort(cuts))]
    if flag != "EmptyBatch":
        batches = [batch for batch in batches if batch.shape[0]]
    if flag in ("NaN", "Inf"):
        batches[-1] = make.spoil(rng, batches[-1], flag)
    if flag == "Empty":
        batches = [np.zeros((0, columns), dtype)]
    return {"batches": batches}


def _stack(batches):
    return np.concatenate([batch.astype(float) for batch in batches])


def _plain(x, count):
    return x.T @ x / count


def _mean_of_means(batches):
    return np.mean([_plain(b.astype(float), len(b)) for b in batches if len(b)], axis=0)


def _centred(batches):
    x = _stack(batches)
    return _plain(x - x.mean(axis=0), len(x))


def _padded(batches):
    longest = max(len(batch) for batch in batches)
    return _plain(_stack(batches), longest * len(batches))


CONTRACT = Contract(
    name="gram",
    arguments=("batches",),
    returns=("gram",),
    promises=(
        "every entry of `X^T X / samples` to rounding",
        "the same for any split of the samples into batches",
    ),
    readings=("`batches` is a list of arrays (samples, columns); one may be empty, all may not",),
    tolerance="`(n + 4) eps |X|^T |X| / n` entrywise (Higham, section 3.1), eps of the coarser of the two dtypes",
    ties="none",
    reference=_reference,
    checks=(
        *checks.BEFORE,
        CheckSpec("form", "well-formed", "a square matrix of the batches' dtype or float64", form),
        checks.FINITE,
        CheckSpec("equal", "equal", "every entry equals that of X^T X / samples", equal),
        *checks.AFTER,
    ),
    mistakes=(
        Mistake("mean-of-batch-means", "batches are averaged with equal weight", _mean_of_means),
        Mistake(
            "last-batch-only",
            "only the last batch counts",
            lambda b: _plain(_stack([c for c in b if len(c)][-1:]), len([c for c in b if len(c)][-1])),
        ),
        Mistake(
            "divided-by-batches",
            "divided by the number of batches, not of samples",
            lambda b: _plain(_stack(b), len(b)),
        ),
        Mistake("not-divided", "the sum is not divided by the samples", lambda b: _plain(_stack(b), 1)),
        Mistake("centred", "the mean is subtracted: a covariance", _centred),
        Mistake(
            "unbiased", "divided by samples - 1", lambda b: _plain(_stack(b), max(len(_stack(b)) - 1, 1))
        ),
        Mistake(
            "twice",
            "the factor 2 of the squared error is kept",
            lambda b: 2 * _plain(_stack(b), len(_stack(b))),
        ),
        Mistake("padding-counted", "short batches are padded and the padding is counted", _padded),
        Mistake(
            "sum-not-reset",
            "the sum of an earlier call is added",
            form_mistakes.Kept(_reference, lambda old, new: old + new),
        ),
        *form_mistakes.of(
            _reference,
            ("gram",),
            lambda batches: any(len(batch) == 0 for batch in batches),
            first="batches",
            zero="an empty batch",
        ),
    ),
    view=GramView,
    flags=(*FLAGS, "WrongShape"),
    shapes=((9, 4), (5, 5), (1, 3), (12, 1), (30, 7), (7, 16), (64, 6), (6, 33), (300, 5), (9, 140)),
    build=lambda flag, shape, rng, dtype: _wrong(_build(flag, shape, rng, dtype), flag),
    axes={"batches": ("sample", "column")},
    transforms=(
        transforms.scale,
        transforms.signs,
        transforms.columns,
        transforms.batch_split,
        transforms.duplicated_samples,
    ),
    example="""def gram(batches):
    total = sum(batch.T.astype(float) @ batch for batch in batches)
    return total / sum(len(batch) for batch in batches)""",
)


def _wrong(problem, flag):
    """For WrongShape: one batch has another number of columns."""
    if flag == "WrongShape":
        first = problem["batches"][0]
        problem["batches"] = [*problem["batches"], np.ones((2, first.shape[1] + 1), first.dtype)]
    return problem
