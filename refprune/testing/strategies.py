"""Hypothesis strategies: problems for `@given` in one's own test suite."""

from collections.abc import Collection

from .cases import flags_of, make_case
from .claims import check_claims
from .judge import find
from .make import ERRORS, FREE


def problems(contract: str, dtype: str = "float64", flags: Collection | None = None):
    """A strategy of problems, mappings ready for ``testing.verify``.

    Parameters
    ----------
    contract : str
        A name from ``testing.contracts``.
    dtype : str
        Dtype of the arrays.
    flags : collection of str, optional
        Only these edge cases, the bad-input ones too. By default every case that must be answered.

    Returns
    -------
    hypothesis.strategies.SearchStrategy

    Raises
    ------
    ValueError
        For a flag that the contract does not have.
    ImportError
        Without Hypothesis: ``pip install "refprune[check]"``.

    Examples
    --------
    >>> import numpy as np
    >>> from hypothesis import given
    >>> from refprune import testing
    >>> @given(problems("topk-mask"))
    ... def test_my_kernel(problem):
    ...     scores, keep = problem["scores"], problem["keep"]
    ...     mask = np.zeros(scores.size, bool)
    ...     mask[np.argsort(scores, axis=None)[scores.size - keep :]] = True
    ...     testing.assert_pruned("topk-mask", problem, mask.reshape(scores.shape))
    >>> test_my_kernel()
    """
    try:
        from hypothesis import strategies as st  # optional: the oracle runs without it
    except ImportError:
        raise ImportError('strategies need Hypothesis: pip install "refprune[check]"') from None
    contract = find(contract)
    claims = check_claims({"dtypes": ["float16", "float32", "float64"]} if flags and "Half" in flags else {})
    known = flags_of(contract, claims)
    for flag in flags or ():
        if flag not in known:
            raise ValueError(f"need flags of {contract.name} ({', '.join(sorted(set(known)))}); got {flag!r}")
    chosen = [
        position
        for position, flag in enumerate(known)
        if (flag in flags if flags is not None else flag not in (*ERRORS, *FREE))
    ]

    def build(position, turn, seed):
        return make_case(contract, position + turn * len(known), seed, dtype, claims).problem

    return st.builds(build, st.sampled_from(chosen), st.integers(0, 11), st.integers(0, 2**32 - 1))


__all__ = ["problems"]
