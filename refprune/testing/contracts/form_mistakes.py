"""Mistakes of form, the same for every contract: right numbers, wrongly handed over.

Each wraps the contract's definition. Its answer equals the reference's where it can be read, so the diagnosis knows
it by what it shows: the check that breaks and the words of its explanation.
"""

import numpy as np

from ..contract import Mistake


def of(
    reference,
    returns,
    nothing,
    objective=None,
    saliencies=None,
    first="weight",
    zero="a call that prunes nothing",
):
    """The mistakes of form for one contract.

    `reference` is its definition, `returns` what it returns, `first` the name of its first argument;
    `nothing(*arguments)` is True for the call that `zero` describes; `objective(weight, *arguments)` and
    `saliencies(order, *arguments)` recompute what may be reported.
    """
    found = [
        Mistake("input-overwritten", "the first argument is written to, as by an answer made in place",
                _overwritten(reference), shows=("unchanged", f"{first} changed during the call")),
        Mistake("raises-at-zero", f"{zero} raises", _raising(reference, nothing),
                shows=("answers", "zero-size array")),
    ]  # fmt: skip
    if "mask" in returns:
        found.append(Mistake("mask-as-numbers", "the mask is an array of 0 and 1, not of bool", _numbers(reference),
                             shows=("form", "the mask has dtype")))  # fmt: skip
    if "weight" in returns:
        found += [
            Mistake("answer-in-single", "the answer is float32 whatever the input is", _single(reference),
                    shows=("form", "has dtype float32")),
            Mistake("pruned-as-nan", "pruned weights are NaN, not 0.0", _filled(reference, np.nan),
                    shows=("finite", "every pruned entry is NaN")),
            Mistake("pruned-not-zero", "pruned weights are made tiny, not 0.0", _filled(reference, 1e-9),
                    shows=("zeros", "tiny")),
        ]  # fmt: skip
    if objective is not None:
        call = _objective(reference, returns, objective)
        words = "the factor 1/2 is missing from the reported objective"
        found.append(
            Mistake("objective-without-half", words, call, shows=("objective", "(2 times as large)"))
        )
    if saliencies is not None:
        call = _saliencies(reference, returns, saliencies)
        words = "the factor 1/2 is missing from the reported saliencies"
        found.append(
            Mistake("saliencies-without-half", words, call, shows=("saliencies", "(2 times as large)"))
        )
    return tuple(found)


def _parts(answer):
    return list(answer) if isinstance(answer, tuple) else [answer]


def _like(parts, answer):
    return tuple(parts) if isinstance(answer, tuple) else parts[0]


def _overwritten(reference):
    def call(first, *rest):
        answer = reference(first.copy(), *rest)
        if isinstance(first, list):
            first[0] *= 0.5
        else:
            first[...] = _parts(answer)[0]
        return answer

    return call


def _raising(reference, nothing):
    def call(*arguments):
        if nothing(*arguments):
            np.zeros(0).max()  # the largest of the pruned scores, of which there are none
        return reference(*arguments)

    return call


def _numbers(reference):
    def call(*arguments):
        answer = reference(*arguments)
        parts = _parts(answer)
        parts[-1] = parts[-1].astype(float)
        return _like(parts, answer)

    return call


def _single(reference):
    def call(*arguments):
        answer = reference(*arguments)
        parts = _parts(answer)
        parts[0] = parts[0].astype(np.float32)
        return _like(parts, answer)

    return call


def _filled(reference, value):
    def call(*arguments):
        answer = reference(*arguments)
        parts = _parts(answer)
        weight, given = parts[0], arguments[0]
        gone = (weight == 0) & (given != 0)
        filler = value if np.isnan(value) else given * weight.dtype.type(value)
        parts[0] = np.where(gone, filler, weight).astype(weight.dtype)
        return _like(parts, answer)

    return call


def _objective(reference, returns, objective):
    def call(*arguments):
        parts = _parts(reference(*arguments))
        return {**dict(zip(returns, parts, strict=True)), "objective": 2 * objective(parts[0], *arguments)}

    return call


def _saliencies(reference, returns, saliencies):
    def call(*arguments):
        parts = _parts(reference(*arguments))
        return {**dict(zip(returns, parts, strict=True)), "saliencies": 2 * saliencies(parts[1], *arguments)}

    return call


class Kept:
    """An implementation that keeps something between calls: the last result for each shape of its input.

    ``combine(old, new)`` makes the answer from the kept and the right result.
    """

    def __init__(self, reference, combine):
        self.reference, self.combine, self.kept = reference, combine, {}

    def __call__(self, *arguments):
        right = self.reference(*arguments)
        first = arguments[0] if not isinstance(arguments[0], list) else arguments[0][0]
        shape = getattr(first, "shape", None)
        answer = self.combine(self.kept[shape], right) if shape in self.kept else right
        self.kept[shape] = answer
        return answer


def first_for_shape(reference, name="state-kept"):
    """The answer to the first call of a shape is given to every later call of that shape."""
    return Mistake(
        name,
        "the answer to an earlier call of the same shape is given again",
        Kept(reference, lambda old, new: old),
    )
