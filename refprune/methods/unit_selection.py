r"""The search of i-SpaSP: which units of a hidden layer carry what the next, linear layer makes of them.

With A the linear layer and h one sample, the residual of a set S is :math:`V = A h_P`, P the units outside of S,
and the importance of a unit is :math:`A^T V` summed over its entries and over samples. Signed, that sum goes
through: :math:`\sum_b A^T A h^b_P = A^T A \big(\sum_b h^b\big)_P`. So one image, the sum of all samples, does for
the whole search, and what an iteration costs does not depend on the samples.

The size of a unit u is the sum of its entries over samples, or the norm of what it gives to the outputs,
:math:`\|A_{:u} h_u\|_F^2 = \mathrm{tr}\, W_u G_u W_u^T` with G_u the sum of outer products of what the weight's
columns of u read. Both are found once, before the search.
"""

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from refprune.arrays import astype, exponent, from_numpy, namespace, swap, to_numpy, transpose, widest
from refprune.network import Conv2d, Network, chain
from refprune.network.point import NUMBERS
from refprune.unfold import unfold


@dataclass(frozen=True, eq=False)
class Selection:
    """One iteration of i-SpaSP.

    Parameters
    ----------
    kept : NumPy int array
        The units that it keeps, ascending.
    size : float
        The sum of their sizes: of what they emit, over all samples (and positions), or of the norms of what they
        give to the outputs.
    """

    kept: np.ndarray
    size: float


@dataclass(frozen=True, eq=False)
class Hidden:
    """A linear layer and what comes into it.

    Attributes
    ----------
    layers : Network
        A Dense or Conv2d without bias, and perhaps BatchNorm2d layers behind it, which are read without their
        constants.
    params : dict of arrays
        Weights are scaled by powers of two; `exponent` gives the first one back.
    batches : list of arrays
        The inputs (samples, entries) or (samples, channels, height, width): unit by unit, equally many of each.
    units : int
    """

    layers: Network
    params: dict
    batches: list
    units: int
    exponent: int

    @classmethod
    def of(cls, layer, weight, batches, units, behind=()):
        """`behind` are (BatchNorm2d, its parameters) that follow the layer."""
        params = {"0.weight": weight}
        for n, (_, own) in enumerate(behind, 1):
            params |= {f"{n}.weight": own["weight"], f"{n}.running_var": own["running_var"]}
            params[f"{n}.running_mean"] = 0 * own["running_mean"]
        exponents = {
            name: exponent(value) if name.endswith("weight") else 0 for name, value in params.items()
        }
        params = {name: value * 2.0 ** -exponents[name] for name, value in params.items()}
        layers = Network([replace(layer, bias=False), *(norm for norm, _ in behind)])
        return cls(layers, params, batches, units, exponents["0.weight"])

    def selections(self, keep, importance, iterations, stop, rank="sums") -> tuple[Selection, ...]:
        """The iterations of i-SpaSP; the last one has the answer."""
        total = self._total()
        sizes, scale = (to_numpy(self._by_unit(total)), 0) if rank == "sums" else self._norms()
        if importance == "signed":  # one image stands for all samples
            batches, absolute = [total], False
            params = {name: astype(value, total.dtype) for name, value in self.params.items()}
        else:
            batches, absolute, params = self.batches, True, self.params
        order = np.argsort(sizes, kind="stable")
        kept, found = np.zeros(self.units, dtype=bool), []
        for _ in range(iterations):
            y = self._importance(params, batches, ~kept, absolute)
            among = kept.copy()
            among[np.argsort(y, kind="stable")[max(self.units - 2 * keep, 0) :]] = True
            candidates = order[among[order]]  # from the smallest to the largest
            last, kept = kept, np.zeros(self.units, dtype=bool)
            kept[candidates[len(candidates) - keep :]] = True
            with np.errstate(over="ignore", under="ignore"):
                size = float(np.ldexp(sizes[kept].sum(), scale))
            found.append(Selection(np.flatnonzero(kept), size))
            if stop and (kept == last).all():
                break
        return tuple(found)

    def energy(self, units) -> float:
        """Half the mean square of what `units` (NumPy, boolean) contribute to the outputs of the first layer.

        The mean is over samples and positions, as in a layer problem.
        """
        layer, value, count = self.layers.layers[0], 0.0, 0
        weight = self._only(self.params["0.weight"], units)
        for x in self._parts(self.batches):
            V = layer.forward({"weight": weight}, x)
            scale = exponent(V)
            V = V * 2.0**-scale
            square = float(namespace(V).sum(V * V))
            with np.errstate(over="ignore", under="ignore"):
                value += float(np.ldexp(square / 2, 2 * (self.exponent + scale)))
            count += V.size // V.shape[1]
        return value / count

    def _total(self):
        """The sum of all samples, one image (1, entries, ...), in float64 where there is one."""
        total = None
        for x in self.batches:
            share = namespace(x).sum(x, axis=0, keepdims=True, dtype=widest(x))
            total = share if total is None else total + share
        return total

    def _norms(self):
        """(NumPy array, exponent): the norm of what each unit gives to the outputs, over samples (and positions)."""
        columns = self._columns()  # (units, entries of the weight, outputs)
        scale, found = max(exponent(x) for x in self.batches), 0
        for x in self._parts(self.batches):
            X = self._read(astype(x, columns.dtype) * 2.0**-scale)
            found = found + swap(X) @ X  # (units, entries of the weight, the same)
        squares = to_numpy(namespace(columns).sum(columns * (found @ columns), axis=(1, 2)))
        return np.sqrt(np.maximum(squares, 0)), scale + self.exponent  # below 0 is rounding

    def _columns(self):
        """The weight as it acts through the BatchNorm2d layers, unit by unit (units, entries, outputs)."""
        W, own = self.params["0.weight"], chain.own(self.params)
        W = namespace(W).reshape(W, (W.shape[0], prod(W.shape[1:])))
        images = swap(astype(W, widest(W)))[:, :, None, None]  # one for each column, outputs are its channels
        for n, norm in enumerate(self.layers.layers[1:], 1):
            images = norm.forward(own[str(n)], images)
        return namespace(W).reshape(images, (self.units, W.shape[1] // self.units, W.shape[0]))

    def _read(self, x):
        """What the weight's columns read of the inputs x, unit by unit: (units, samples * positions, entries)."""
        layer, xp = self.layers.layers[0], namespace(x)
        if isinstance(layer, Conv2d):
            X = unfold(x, layer.kernel, layer.stride, layer.padding, layer.dilation, self.units)
            return xp.reshape(X, (self.units, -1, X.shape[-1]))
        return transpose(xp.reshape(x, (x.shape[0], self.units, x.shape[1] // self.units)), (1, 0, 2))

    def _importance(self, params, batches, units, absolute):
        """The sums of `A^T A x_P` over samples and the entries of each unit, P the `units`; a NumPy array."""
        found, whole = 0, {"weight": params["0.weight"]}
        params = params | {"0.weight": self._only(whole["weight"], units)}
        for x in self._parts(batches):
            V, records = chain.record(self.layers.layers, params, x)
            records[0].params = whole  # A^T tells of all units, x_P has those of P
            _, D = chain.pull(records, V, want=None)
            found = found + to_numpy(self._by_unit(abs(D) if absolute else D))
        return found

    def _by_unit(self, x):
        """The sums of x (samples, entries, ...) over samples and the entries of each unit, (units,)."""
        xp = namespace(x)
        sums = xp.sum(x, axis=(0, *range(2, x.ndim)), dtype=widest(x))
        return xp.sum(xp.reshape(sums, (self.units, sums.shape[0] // self.units)), axis=1)

    def _only(self, W, units):
        """The weight W (outputs, entries, ...) with zeros for all but `units`."""
        entries = np.repeat(units, W.shape[1] // self.units).reshape(1, -1, *(1 for _ in W.shape[2:]))
        return namespace(W).where(from_numpy(entries, W), W, 0)

    def _parts(self, batches):
        """The samples, so many at a time that inputs and outputs stay in a cache."""
        for x in batches:
            shape = tuple(x.shape[1:])
            step = max(1, NUMBERS // max(prod(shape), *chain.held(self.layers.layers, shape)))
            for start in range(0, x.shape[0], step):
                yield x[start : min(start + step, x.shape[0]), ...]
