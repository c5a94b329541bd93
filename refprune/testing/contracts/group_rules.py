"""Wrong readings of an N:M group: (scores, n, m) -> mask. The mask and the one-shot contracts share them."""

import numpy as np

from refprune import definitions


def along_rows(scores, n, m):
    """Groups along the outputs, where the rows fill them."""
    if scores.shape[0] % m:
        return definitions.nm_mask(scores, n, m)
    return definitions.nm_mask(np.ascontiguousarray(scores.T), n, m).T


def over_flat_array(scores, n, m):
    """Groups run over the flattened array, so a short row is filled up from the next one."""
    size = scores.size - scores.size % m
    mask = np.ones(scores.size, bool)
    mask[:size] = definitions.nm_mask(scores.ravel()[None, :size], n, m)[0]
    return mask.reshape(scores.shape)


def threshold(scores, n, m):
    """Everything that ties with the n-th largest of its group is kept."""
    groups = scores.reshape(-1, m)
    cut = np.sort(groups, axis=1)[:, ::-1][:, n - 1 : n] if n else np.full((len(groups), 1), np.inf)
    return (groups >= cut).reshape(scores.shape)
