"""Linear algebra that checks its result on every backend.

No backend is trusted to raise: CuPy, JAX and batched CUDA answer NaN where NumPy raises `LinAlgError`. Object
arrays of Fractions go to the exact elimination of `refprune.exact`.
"""

import numpy as np

from refprune import exact
from refprune.backends import astype, concat, diagonal, dtype_name, eps, namespace, precision, swap, to_numpy
from refprune.checks import symmetric


def _checked(wanted, compute, *matrices):
    """Run `compute` and raise LinAlgError when it raises one or its result is not finite."""
    xp = namespace(*matrices)
    try:
        with np.errstate(all="ignore"):
            result = compute(*matrices)
    except np.linalg.LinAlgError as error:
        raise np.linalg.LinAlgError(f"need {wanted}; got: {error}") from None
    if not bool(xp.all(xp.isfinite(result))):
        raise np.linalg.LinAlgError(f"need {wanted}; got a result that is not finite")
    return result


def _stacked(compute, A, *others):
    """Apply `compute` to every matrix of a stack of object matrices."""
    if A.ndim == 2:
        return compute(A, *others)
    return np.stack([_stacked(compute, *(x[i] for x in (A, *others))) for i in range(A.shape[0])])


def inv(A):
    """The inverse of `A` (..., d, d); LinAlgError when it is singular or the result is not finite.

    Fractions are inverted exactly. float16 is inverted in float32.
    """
    dtype = precision(A)
    if dtype_name(dtype) == "object":
        return _stacked(exact.inv, A)
    return _checked("an invertible matrix", namespace(A).linalg.inv, astype(A, dtype))


def solve(A, B):
    """Solve `A X = B` for `A` (..., d, d) and `B` (d,) or (..., d, k); exact and with errors as `inv`."""
    dtype = precision(A, B)
    if B.ndim == 1:
        return solve(A, B[:, None])[:, 0]
    if dtype_name(dtype) == "object":
        return _stacked(exact.solve, A, B)
    compute = namespace(A, B).linalg.solve
    return _checked("an invertible matrix", compute, astype(A, dtype), astype(B, dtype))


def cholesky(A):
    """The lower Cholesky factor of `A` (..., d, d); LinAlgError when `A` is not positive definite.

    A factorisation that fails silently may leave NaN or a half-factored matrix, so the factor is checked on
    every backend by |A - L L^T|_ij <= (d + 1) eps sqrt(a_ii a_jj), ten times over (Higham, Accuracy and
    Stability of Numerical Algorithms, theorem 10.3). Only the lower triangle of `A` is read.
    """
    dtype = precision(A)
    if dtype_name(dtype) == "object":
        raise TypeError("need floating numbers for a Cholesky factor (it has square roots); got Fractions")
    xp, A = namespace(A), astype(A, dtype)
    L = _checked("a positive definite matrix", xp.linalg.cholesky, A)
    with np.errstate(all="ignore"):
        size = xp.sqrt(xp.abs(diagonal(A)))
        gap = xp.tril(xp.abs(A - L @ swap(L)))
        bound = size[..., :, None] * size[..., None, :] * (10 * (A.shape[-1] + 1) * eps(dtype))
    if not bool(xp.all(gap <= bound)):
        raise np.linalg.LinAlgError("need a positive definite matrix; got a factor L with L L^T far from it")
    return L


def eigh(A, name="matrix"):
    """Eigenvalues (d,), ascending and none below 0, and eigenvectors (d, d) of a semidefinite `A` (d, d).

    Eigenvalues that rounding has put below 0 come back as 0.

    Raises
    ------
    numpy.linalg.LinAlgError
        An eigenvalue is below ``- sqrt(eps) |A|``; the result is not finite.
    """
    xp, A = namespace(A), astype(A, precision(A))
    if 0 in A.shape:
        return diagonal(A), A
    values, vectors = xp.linalg.eigh(A)
    _checked(f"a {name} with finite eigenvectors", lambda M: M, vectors)
    least, most = float(values[0]), float(xp.max(xp.abs(values)))
    if not least >= -(eps(A.dtype) ** 0.5) * most:
        raise np.linalg.LinAlgError(
            f"need a positive semidefinite {name}; got an eigenvalue of {least:.3g} beside {most:.3g}"
        )
    return xp.maximum(values, xp.zeros_like(values)), vectors


def _definite(H, name):
    """Return (A, scale, half, Ainv); LinAlgError when H is not definite.

    `A = scale H scale = L L^T`, `half = L^-1`, and `Ainv` is the inverse of A. The scales are powers of two, so
    A is H without a rounding error; its diagonal lies in [1, 4]. The condition number is taken at unit
    diagonal: that scaling is within a factor d of the best one (van der Sluis 1969; Higham, section 7.3), and
    it makes the test free of the units of the single weights.
    """
    xp, d = namespace(H), H.shape[0]
    with np.errstate(all="ignore"):
        scale = 2.0 ** -xp.floor(xp.log2(diagonal(H)) / 2)  # (d,)
        A = H * scale[:, None] * scale[None, :]
        unit = xp.sqrt(diagonal(A))  # (d,)
        try:
            half = _inv_lower(cholesky(A))  # (d, d)  A = L L^T, half = L^-1
        except np.linalg.LinAlgError:
            raise not_definite(H, name) from None
        Ainv = swap(half) @ half
        Ainv = (Ainv + swap(Ainv)) / 2
        condition = _norm1(A / unit[:, None] / unit) * _norm1(Ainv * unit[:, None] * unit)
    if not bool(condition * (d * eps(H.dtype)) <= 1):
        raise not_definite(H, name)
    return A, scale, half, Ainv


def _inv_lower(L):
    """The inverse of the lower triangular `L` (d, d) with a diagonal that is not 0, by halves: 2/3 d^3 operations."""
    d = L.shape[0]
    if d <= 64:
        return inv(L)
    a, b = slice(0, d // 2), slice(d // 2, d)
    upper, lower = _inv_lower(L[a, a]), _inv_lower(L[b, b])
    above = concat([upper, namespace(L).zeros_like(L[a, b])], axis=1)
    return concat([above, concat([-lower @ (L[b, a] @ upper), lower], axis=1)], axis=0)


def _norm1(matrix):
    xp = namespace(matrix)
    return xp.max(xp.sum(xp.abs(matrix), axis=0))


def inv_spd(H, name="hessian"):
    """The symmetric inverse of a positive definite `H` (d, d), by Cholesky; about 5 d^3 operations.

    Raises
    ------
    numpy.linalg.LinAlgError
        The Cholesky factorisation fails, or the reciprocal condition number (1-norm, at unit diagonal) is
        below d eps. The message tells the rank deficiency, that number, and a `damp` that would do.
        Also when the inverse is outside the range of the dtype.
    ValueError
        `H` is not square or not symmetric. `name` is the argument's name in the messages.
    """
    symmetric(name, H)
    if dtype_name(H.dtype) == "object":
        return exact.inv(_exactly_definite(H, name))
    H = astype(H, precision(H))
    if 0 in H.shape:
        return H
    _, scale, _, Ainv = _definite(H, name)
    return _checked(
        f"a {name} whose inverse is in range", lambda M: M * scale[:, None] * scale[None, :], Ainv
    )


def inverse_factor(H, name="hessian"):
    """The lower Cholesky factor `L` of the inverse of a positive definite `H` (d, d): `H^-1 = L L^T`.

    `L_jj^2` is the first diagonal entry of the inverse of `H[j:, j:]`. No inverse is factored: the factor of H
    with its order reversed is inverted, transposed and reversed again. Floating numbers only; errors as
    `inv_spd`.
    """
    symmetric(name, H)
    H = astype(H, precision(H))
    if 0 in H.shape:
        return H
    _, scale, half, _ = _definite(H[::-1, ::-1], name)
    return _checked(f"a {name} whose inverse is in range", lambda M: swap(M * scale)[::-1, ::-1], half)


def solve_spd(H, B, name="hessian"):
    """Solve `H X = B` for a positive definite `H` (d, d) and `B` (d,) or (d, k); errors as `inv_spd`.

    The residual is at rounding level whatever the condition: no inverse is multiplied.
    """
    symmetric(name, H)
    dtype = precision(H, B)
    if dtype_name(dtype) == "object":
        return exact.solve(_exactly_definite(H, name), B)
    if 0 in B.shape:
        return astype(B, dtype)
    A, scale, _, _ = _definite(astype(H, dtype), name)
    B = astype(B, dtype)
    if B.ndim == 1:
        return scale * solve(A, scale * B)
    return scale[:, None] * solve(A, scale[:, None] * B)


def _exactly_definite(H, name):
    """Return the matrix of Fractions `H` when it is positive definite, else raise LinAlgError."""
    rank = exact.rank_of_definite(H)
    if rank < H.shape[0]:
        raise np.linalg.LinAlgError(f"need a positive definite {name}; got pivot {rank} <= 0 (exact)")
    return H


def not_definite(H, name):
    """The LinAlgError for an `H` that is not positive definite: by how much, and what damping would do.

    Damping means ``damp * mean(diag H)`` over the living inputs (a positive diagonal), added to the diagonal.
    It is searched in powers of ten, so that rcond is twice what `inv_spd` needs.
    """
    floor = H.shape[0] * eps(H.dtype)
    H = to_numpy(H).astype(np.float64)
    living = np.diagonal(H)[np.diagonal(H) > 0]
    said = f"need a positive definite {name}"
    values = np.linalg.eigvalsh(_unit_diagonal(H))
    rank = int(np.sum(values > floor * values[-1]))
    said += f"; got numerical rank {rank} of {len(H)} (deficient by {len(H) - rank}) at unit diagonal,"
    said += f" smallest eigenvalue {values[0]:.2g}, rcond {_rcond(H):.2g} (need {floor:.2g})"
    for power in range(int(np.ceil(np.log10(floor))), 4) if living.size else ():
        if _rcond(H + 10.0**power * living.mean() * np.eye(len(H))) >= 2 * floor:
            return np.linalg.LinAlgError(f"{said}; damp=1e{power} or more would do")
    return np.linalg.LinAlgError(f"{said}; no damp up to 1e3 would do")


def _unit_diagonal(H):
    """`H` scaled to unit diagonal where that is positive, the rest cut at 1e9 to stay finite."""
    with np.errstate(all="ignore"):
        scale = 1 / np.sqrt(np.where(np.diagonal(H) > 0, np.diagonal(H), 1))
        return np.clip(H * scale[:, None] * scale, -1e9, 1e9)


def _rcond(H):
    """Reciprocal 1-norm condition number of `H` at unit diagonal; 0 when `H` is not positive definite."""
    unit = _unit_diagonal(H)
    return float(1 / np.linalg.cond(unit, 1)) if np.linalg.eigvalsh(unit)[0] > 0 else 0.0
