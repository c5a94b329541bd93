"""Conjugate gradients (Hestenes and Stiefel 1952, (3:1)): solve `A x = b` with products `A p` only.

Every direction p is A-orthogonal to all before it, so no step spoils an earlier one; in exact arithmetic at most d
steps reach the solution.
"""


def conjugate_gradient(product, b, rtol=0, steps=None):
    """The iterates `x_0 = 0, x_1, ...` for `product(v) = A v` with a positive definite A, and `b` (d,).

    Ends when the carried residual has `|r| <= rtol |b|`, after at most `steps` (d when None).
    """
    x = 0 * b
    r = b - x  # the residual b - A x, carried along
    p = r
    iterates = [x]
    for _ in range(b.shape[0] if steps is None else steps):
        if r @ r <= rtol**2 * (b @ b):
            break
        Ap = product(p)
        a = (r @ r) / (p @ Ap)  # the minimum along p
        x = x + a * p
        after = r - a * Ap
        c = (after @ after) / (r @ r)  # makes the next direction A-orthogonal to p
        p = after + c * p
        r = after
        iterates.append(x)
    return iterates
