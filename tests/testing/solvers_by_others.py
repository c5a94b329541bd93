"""Adapters of the contract `cg` over solvers that others ship, as thin as can be."""

import importlib


def scipy_cg(matvec, b, rtol):
    """`scipy.sparse.linalg.cg`; its second result tells whether it converged."""
    linalg = importlib.import_module("scipy.sparse.linalg")
    operator = linalg.LinearOperator((b.size, b.size), matvec=matvec, dtype=b.dtype)
    x, info = linalg.cg(operator, b, rtol=rtol, maxiter=5 * b.size)
    if info:
        raise ValueError(f"need convergence; got info {info}")
    return x


def jax_cg(matvec, b, rtol):
    """`jax.scipy.sparse.linalg.cg`; it does not tell whether it converged."""
    return importlib.import_module("jax.scipy.sparse.linalg").cg(matvec, b, tol=rtol)[0]


def returns_nothing_small(matvec, b, rtol):
    """Right, but for a b below 1e-5, which is taken as 0."""
    linalg = importlib.import_module("numpy.linalg")
    unit = importlib.import_module("numpy").eye(b.size, dtype=b.dtype)
    matrix = [matvec(row) for row in unit]
    return linalg.solve(matrix, b).astype(b.dtype) if abs(b).max(initial=0) > 1e-5 else 0 * b
