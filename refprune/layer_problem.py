"""A layer as a problem: its weight, the Gram of its inputs, and the rows as independent quadratics."""

from math import prod

from refprune.arrays import Array, cast, diagonal, exactly_symmetric, eye, integer, namespace, plain, real
from refprune.gram import GramAccumulator
from refprune.quadratic import Quadratic
from refprune.unfold import Padding, Sides


class LayerProblem:
    r"""A layer and the Gram of its inputs: :math:`f(V) = \frac12 \mathrm{tr}\,(V - W) G (V - W)^T`.

    That is half the mean squared change of the layer's outputs over the samples, and each row's Hessian is
    `G`.

    Parameters
    ----------
    weight : array, shape (rows, columns) or (out, in / groups, kh, kw)
        A dense layer's or a convolution's weight; answers keep its shape.
    gram : array, shape (columns, columns) or (groups, columns, columns)
        :math:`G = X^T X / n`, symmetric with a diagonal that is not negative. A stack belongs to a grouped
        convolution: its groups are independent layers, rows in consecutive equal shares.

    Attributes
    ----------
    weight, gram : arrays
        What was given.
    matrix : array, shape (rows, columns)
        The weight's matrix form, flattened in C order.
    rows, columns, groups : int

    Raises
    ------
    TypeError, ValueError
        Not arrays of one kind with real numbers; shapes that do not fit; NaN or Inf; a Gram that is not
        symmetric or has a negative diagonal.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> X = np.array([[1.0, 2.0], [1.0, 0.0]])
    >>> problem = rp.LayerProblem.from_inputs(np.array([[3.0, 1.0]]), X)
    >>> problem.gram
    array([[1., 1.],
           [1., 2.]])
    >>> float(problem.objective(np.array([[3.0, 0.0]])))
    1.0
    """

    def __init__(self, weight: Array, gram: Array):
        real("weight", weight, ndim=(2, 4))
        real("gram", gram, ndim=(2, 3))
        self.weight, self.gram = weight, exactly_symmetric("gram", gram)
        self.rows, self.columns = weight.shape[0], prod(weight.shape[1:])
        self.groups = 1 if gram.ndim == 2 else gram.shape[0]
        if gram.shape[-1] != self.columns:
            raise ValueError(f"need gram for {self.columns} columns; got shape {tuple(gram.shape)}")
        if self.groups == 0 or self.rows % self.groups:
            raise ValueError(f"need rows in a multiple of the Grams; got {self.rows} for {self.groups}")
        if not bool(namespace(plain(gram)).all(diagonal(plain(gram)) >= 0)):
            raise ValueError("need gram with a diagonal >= 0; got a negative entry there")
        self.matrix = namespace(*cast(weight, gram)).reshape(weight, (self.rows, self.columns))

    @classmethod
    def from_inputs(
        cls,
        weight: Array,
        inputs: Array,
        stride: Sides = 1,
        padding: Padding = 0,
        dilation: Sides = 1,
        groups: int = 1,
    ) -> "LayerProblem":
        """The layer problem of `weight` on its `inputs`; the Gram is accumulated in float64.

        Parameters
        ----------
        weight : array, shape (rows, columns) or (out, in / groups, kh, kw)
        inputs : array, shape (samples, columns) or (samples, in, height, width)
        stride, padding, dilation : int or pair of int
        groups : int
            The last four are those of a convolution.
        """
        real("weight", weight, ndim=(2, 4))
        kernel = tuple(weight.shape[2:]) or None
        accumulator = GramAccumulator(kernel, stride, padding, dilation, groups)
        return cls(weight, accumulator.update(inputs).gram)

    def gram_of(self, row: int) -> Array:
        """The Gram (columns, columns) of output `row`: the layer's, or that of the row's group."""
        row = integer("row", row, least=0, most=self.rows - 1)
        return self.gram if self.gram.ndim == 2 else self.gram[row // (self.rows // self.groups), ...]

    def row(self, i: int) -> Quadratic:
        """The Quadratic of output `i`: Hessian `gram_of(i)` and that row of the matrix."""
        return Quadratic(self.gram_of(i), self.matrix[i, :])

    def restore(self, matrix: Array) -> Array:
        """`matrix` (rows, columns) in the shape of the weight."""
        return namespace(matrix).reshape(matrix, self.weight.shape)

    def objective(self, v: Array) -> Array:
        """The objective at `v` in the shape of the weight or the matrix; a scalar in units of the loss."""
        if tuple(v.shape) != (self.rows, self.columns):
            real("v", v, shape=tuple(self.weight.shape))
        return self.value(namespace(v).reshape(v, (self.rows * self.columns,)))

    def _product(self, step, gram):
        """The flat `step` as (groups, rows per group, columns), and that times the Gram."""
        xp = namespace(step, gram)
        step = xp.reshape(step, (self.groups, self.rows // self.groups, self.columns))
        return step, step @ xp.reshape(gram, (self.groups, self.columns, self.columns))

    def _step(self, w):
        """Return (step, gram) in one precision; step = w - weight, flat."""
        real("w", w, shape=(self.rows * self.columns,))
        w, matrix, gram = cast(w, self.matrix, self.gram)
        return w - namespace(matrix).reshape(matrix, (self.rows * self.columns,)), gram

    def value(self, w: Array) -> Array:
        """The objective at the flat `w` (rows * columns,)."""
        step, product = self._product(*self._step(w))
        return namespace(step, product).sum(step * product) / 2

    def gradient(self, w: Array) -> Array:
        """The gradient `(V - W) G`, flat (rows * columns,)."""
        _, product = self._product(*self._step(w))
        return namespace(product).reshape(product, (self.rows * self.columns,))

    def hvp(self, w: Array, v: Array) -> Array:
        """The product of the Hessian and the flat `v`, whatever `w`: every row times its Gram."""
        real("v", v, shape=(self.rows * self.columns,))
        _, product = self._product(*cast(v, self.gram))
        return namespace(product).reshape(product, (self.rows * self.columns,))

    def hessian(self, w: Array) -> Array:
        """The Hessian, flat by flat, whatever `w`: the rows' Grams along the diagonal, zeros elsewhere."""
        (gram,) = cast(self.gram)
        size, share = self.rows * self.columns, max(self.rows // self.groups, 1)
        if self.rows == 0:
            return eye(0, gram)
        grams = [gram if gram.ndim == 2 else gram[row // share, ...] for row in range(self.rows)]
        xp = namespace(gram)
        blocks = eye(self.rows, gram)[:, None, :, None] * xp.stack(grams)[:, :, None, :]
        return xp.reshape(blocks, (size, size))  # blocks: (rows, columns, rows, columns)
