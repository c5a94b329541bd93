r"""A better support for WoodFisher by swaps: one pruned weight comes back for one that goes, while the model falls.

Model: the q of `refprune.methods.fisher_model` at its minimiser on the support K, P the rest.
Problem: the pair (i in P, j in K) whose swap lowers that most.
Solution: with ``B = (G_K G_K^T + damp N I)^-1``, ``r = G_P w_P`` (less 1 with first order), ``t = w + G^T B r`` and
``Q = G^T B G``, the minimum is ``damp / 2 (|w_P|^2 + r^T B r)`` and the weights on K are t. In units of damp / 2

    i comes back:           - t_i^2 / (1 + Q_ii)
    and then j goes:        (t_j - Q_ij t_i / (1 + Q_ii))^2 / (1 - Q_jj + Q_ij^2 / (1 + Q_ii))

What makes it fast: no matrix of d by d; the pairs of a few candidates are all tried, those of the largest first terms
and of the smallest ``t_j^2 / (1 - Q_jj)``; B changes by two rank-one updates.
Cost: N^2 d at the start and every 50 swaps, N d for each swap.
Source: Yu, Serra, Ramalingam, Zhe 2022, The Combinatorial Brain Surgeon; there swaps lower ``w_P^T F w_P``, the loss
before the other weights move, here the loss after.
"""

import numpy as np

from refprune.arrays import concat, from_numpy, inv_spd, namespace, swap, to_numpy
from refprune.methods.fisher_model import CHUNK, outer

CANDIDATES, FRESH = 64, 50


class Support:
    """A support and what the swaps need of it; `scopes` (d,) (NumPy) says which weights may stand for each other."""

    def __init__(self, model, kept, scopes):
        self.model, self.kept, self.scopes = model, np.array(to_numpy(kept)), scopes
        self.open = to_numpy(model.living) & (scopes >= 0)
        self.place = np.concatenate(
            [np.full(b.stop - b.start, i) for i, b in enumerate(model.blocks)] or [[]]
        )
        self.refresh()

    def refresh(self):
        """B, r, Q_jj and the bound of ``1 - Q_jj`` from the support alone."""
        model, self.inverses, self.residuals, sums, lengths = self.model, [], [], [], []
        mask = from_numpy(self.kept, model.weight)
        for G, w, kept in model.parts(model.weight, mask):
            xp = namespace(G)
            on = xp.take(G, from_numpy(np.flatnonzero(to_numpy(kept)), G), axis=1)
            self.inverses.append(self._inverse(outer(on, model.damp)))
            self.residuals.append(G @ xp.where(kept, 0, w) - model.linear)
            size = max(1, CHUNK // model.samples)
            for first in range(0, G.shape[1], size):
                part = G[:, first : min(first + size, G.shape[1])]
                sums.append(xp.sum(part * (self.inverses[-1] @ part), axis=0))
                lengths.append(xp.sum(part * part, axis=0))
        self.squares, ridge = to_numpy(concat(sums, axis=0)).copy(), model.damp * model.samples
        self.floor = ridge / (ridge + to_numpy(concat(lengths, axis=0)))
        self.move()

    def _inverse(self, A):
        """A^-1; it may be singular where F is not, with more gradients than weights."""
        try:
            return inv_spd(A)
        except np.linalg.LinAlgError:
            raise np.linalg.LinAlgError(
                "need a larger damp for swaps, at least about eps times the largest eigenvalue of F; "
                f"got {self.model.asked:g}"
            ) from None

    def rest(self, j):
        """``1 - Q_jj`` of kept indices `j`; what is below its bound by rounding is put there."""
        return np.maximum(1 - self.squares[j], self.floor[j])

    def move(self):
        """t, and the value of q in units of damp / 2 (and without what first order takes off)."""
        pieces, self.value = [], 0.0
        for i, (G, w) in enumerate(self.model.parts(self.model.weight)):
            image = self.inverses[i] @ self.residuals[i]
            pieces.append(w + swap(G) @ image)
            self.value += float(namespace(G).sum(self.residuals[i] * image))
        self.values = to_numpy(concat(pieces, axis=0))
        gone = to_numpy(self.model.weight)[~self.kept]
        self.value += float(gone @ gone)

    def candidates(self):
        """(pruned, kept): the indices whose pairs are tried."""
        off, on = np.flatnonzero(~self.kept & self.open), np.flatnonzero(self.kept & self.open)
        if len(off) == 0 or len(on) == 0:
            return off[:0], on[:0]
        gain = self.values[off] ** 2 / (1 + self.squares[off])
        cost = self.values[on] ** 2 / self.rest(on)
        cheapest = np.full(self.scopes.max() + 1, np.inf)
        np.minimum.at(cheapest, self.scopes[on], cost)
        off = off[np.argsort(cheapest[self.scopes[off]] - gain, kind="stable")[:CANDIDATES]]
        own = np.isin(self.scopes[on], self.scopes[off])
        on, cost = on[own], cost[own]
        first = cost == cheapest[self.scopes[on]]  # of every scope the cheapest one, and the cheapest of all
        chosen = np.argsort(np.where(first, -1.0, cost), kind="stable")
        return off, on[chosen[: CANDIDATES + np.count_nonzero(first)]]

    def best_swap(self):
        """(change of the value, i, j) of the best pair of candidates; None where there is no pair."""
        off, on = self.candidates()
        allowed = self.scopes[off][:, None] == self.scopes[on]
        if not allowed.any():
            return None
        Q = np.zeros(allowed.shape)
        for b, (G,) in enumerate(self.model.parts()):
            rows, columns = np.flatnonzero(self.place[off] == b), np.flatnonzero(self.place[on] == b)
            start = self.model.blocks[b].start
            back, away = (
                namespace(G).take(G, from_numpy(x - start, G), axis=1) for x in (off[rows], on[columns])
            )
            Q[np.ix_(rows, columns)] = to_numpy(swap(back) @ (self.inverses[b] @ away))
        share = 1 / (1 + self.squares[off])[:, None]
        left = self.values[on] - Q * self.values[off][:, None] * share
        change = left**2 / (self.rest(on) + Q**2 * share) - self.values[off][:, None] ** 2 * share
        pairs = np.argwhere(allowed)
        i, j = pairs[np.argmin(change[allowed])]
        return float(change[i, j]), int(off[i]), int(on[j])

    def swap(self, i, j):
        """Bring back `i` for `j`."""
        w = to_numpy(self.model.weight)
        for p, sign in ((i, 1.0), (j, -1.0)):  # i comes, then j goes
            b = int(self.place[p])
            at = self.model.blocks[b]
            G = self.model.gradients[:, at]
            g = G[:, p - at.start]
            image = self.inverses[b] @ g
            scale = sign / (1 + sign * float(namespace(g).sum(g * image)))
            self.inverses[b] = self.inverses[b] - scale * image[:, None] * image[None, :]
            self.squares[at] -= scale * to_numpy(swap(G) @ image) ** 2
            self.residuals[b] = self.residuals[b] - sign * float(w[p]) * g
            self.kept[p] = sign > 0
        self.move()


def swapping(model, kept, scopes, max_iter):
    """(mask (d,), values): the support after at most `max_iter` swaps, and the values of q before and after each.

    Where that is not lower than at the start, the start.
    """
    values, marks = [model.value(model.best(kept))], to_numpy(kept)
    if marks.all() or not marks.any():
        return kept, values
    support = Support(model, kept, scopes)
    for n in range(max_iter):
        if n % FRESH == FRESH - 1:
            support.refresh()
        found = support.best_swap()
        if found is None or not found[0] < -1e-12 * support.value:
            break
        support.swap(*found[1:])
        values.append(values[-1] + found[0] * model.damp / 2)
    mask = from_numpy(support.kept, model.weight)
    last = model.value(model.best(mask))
    if not last < values[0] - 1e-12 * abs(values[0]):  # what the swaps promised was rounding
        return kept, values[:1]
    return mask, [*values[:-1], last]
