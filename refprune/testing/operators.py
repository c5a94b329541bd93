"""A matrix that an implementation knows by its products only."""


class Operator:
    """The product ``v -> A v`` with a matrix, as plain data: it is sent, shrunk and printed as its matrix.

    Parameters
    ----------
    matrix : array, shape (d, d)
        A, of the kind of array that the product is asked for.

    Attributes
    ----------
    matrix : array
        As given.
    products : int
        How often it was called.

    Raises
    ------
    ValueError
        On a call with anything but a vector (d,).

    Examples
    --------
    >>> import numpy as np
    >>> product = Operator(np.array([[2.0, 1.0], [1.0, 3.0]]))
    >>> product(np.array([1.0, 1.0])), product.products
    (array([3., 4.]), 1)
    """

    def __init__(self, matrix):
        self.matrix, self.products = matrix, 0

    shape = property(lambda self: self.matrix.shape)
    dtype = property(lambda self: self.matrix.dtype)

    def __call__(self, v):
        """The product with `v` (d,), a new array in the wider of the two dtypes."""
        if tuple(getattr(v, "shape", ())) != tuple(self.shape[1:]):
            raise ValueError(f"need v of shape {tuple(self.shape[1:])}; got {getattr(v, 'shape', type(v))}")
        self.products += 1
        if v.dtype == self.dtype:
            return self.matrix @ v
        return (self.matrix * v).sum(-1)  # PyTorch's matmul takes no mixed dtypes

    def __repr__(self):
        return f"Operator({self.matrix!r})"
