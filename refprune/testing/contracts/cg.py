"""`cg`: solve `A x = b` with a symmetric positive definite A that is known by its products."""

from numbers import Real

import numpy as np

from ...definitions.conjugate_gradient import conjugate_gradient
from .. import checks, make, transforms
from ..bounds import SOLVE, condition_limit
from ..contract import Check, CheckSpec, Contract, failed, passed
from ..operators import Operator
from ..views import View
from .cg_mistakes import mistakes

FLAGS = (
    "ZeroResidual",
    "IllConditioned",
    "Singular",
    "NegativeCurvature",
    "LossScale",
    "Subnormal",
    "OneColumn",
    "WiderThanBlock",
    "NonContiguous",
    "ReadOnly",
    "NaN",
    "Inf",
    "Empty",
    "WrongShape",
)
TOLERANCES = {"float64": (1e-2, 1e-4, 1e-6, 1e-8, 1e-10), "float32": (1e-1, 1e-2, 1e-3, 1e-4),
              "float16": (1e-1, 1e-2)}  # fmt: skip
PRODUCTS, SPARE = 50, 500  # at most 50 d + 500 products; textbook forms with restarts were seen to need 48 d


class SystemView(View):
    """The matrix in float64, its largest eigenvalue, and whether it is positive definite."""

    def __init__(self, problem, claims):
        super().__init__(problem, claims, "b")
        rtol, b = problem["rtol"], np.asarray(problem["b"])
        if isinstance(rtol, (bool, np.bool_)) or not isinstance(rtol, Real) or not 0 <= rtol < np.inf:
            self.expect("error", f"rtol is {rtol!r}; a number >= 0 is needed")
        if not self.need_arrays(b=(None,)):
            return
        matrix = _matrix(problem["matvec"], b)
        if matrix.shape != (b.size, b.size):
            self.expect("error", f"b has shape {b.shape}; matvec takes vectors of {matrix.shape[-1]}")
        elif not np.isfinite(matrix).all():
            self.expect("error", "the products hold NaN or Inf")
        elif np.abs(matrix - matrix.T).max() > np.sqrt(self.store_eps) * np.abs(matrix).max():
            self.expect("error", "the matrix is not symmetric")
        else:
            self.matrix, self.b = matrix, b.astype(float)
            self._definite()

    def _definite(self):
        """Anything honest is right where A is not positive definite to rounding."""
        values = np.linalg.eigvalsh((self.matrix + self.matrix.T) / 2)
        self.largest = float(np.abs(values).max())
        slack = self.b.size * self.eps * self.largest
        if values[0] < -slack:
            self.expect("free", f"A has a negative eigenvalue, {values[0]:.3g}")
        elif values[0] <= slack:
            self.expect("free", "A is singular to rounding")


def _matrix(matvec, b):
    """The matrix of an operator, an array, or any function, from its products with the unit vectors."""
    if isinstance(matvec, Operator):
        return np.asarray(matvec.matrix, dtype=float)
    if callable(matvec):
        return np.stack(
            [np.asarray(matvec(unit), dtype=float) for unit in np.eye(b.size, dtype=b.dtype)], axis=1
        )
    return np.asarray(matvec, dtype=float)


def _products(view, answer):
    """The promised number of products is kept."""
    if answer.products is None:
        return Check("", "not run", explanation="nobody counted the products")
    allowed = PRODUCTS * view.b.size + SPARE
    if answer.products > allowed:
        text = f"matvec was called {answer.products} times; {PRODUCTS} d + {SPARE} = {allowed} are enough"
        return failed(text, answer.products, allowed)
    return passed(answer.products, allowed)


def _residual(view, answer):
    """The residual meets the tolerance, to rounding."""
    x, size = answer.weight.astype(float), _norm(view.b)
    if size == 0:
        return failed("b is 0 and the answer is not") if x.any() else None
    asked = view.problem["rtol"] * size
    # what steps carry parts from b - A x by eps |A| |x| (Greenbaum 1997; 1.2 of it was seen); x is rounded when stored
    step = SOLVE * max(view.eps, view.store_eps) * _norm(x)
    step += np.sqrt(x.size) * float(np.finfo(answer.weight.dtype).smallest_subnormal)
    with np.errstate(all="ignore"):
        found, allowed = _norm(view.b - view.matrix @ x), view.largest * step
    if not found <= asked + allowed:
        text = f"|b - A x| is {found / size:.3g} |b|; rtol is {view.problem['rtol']:g}"
        if view.expects == "free":
            text = f"{view.reason}: an error or an x with a small residual is right, and {text}"
        return failed(text, found - asked, allowed)
    return passed(max(found - asked, 0.0), allowed)


def _norm(vector):
    """The Euclidean norm; no square leaves the range."""
    size = np.abs(vector).max(initial=0.0)
    return float(size * np.linalg.norm(vector / size)) if 0 < size < np.inf else float(size)


def _reference(matvec, b, rtol):
    """The definition on b of size 1, with as many steps as rounding may need."""
    size = np.abs(b).max(initial=0.0)
    if not np.isfinite(size):
        raise ValueError("need finite numbers in b")
    if size == 0:
        return np.zeros_like(b)
    *_, x = conjugate_gradient(matvec, (b / size).astype(float), rtol, steps=PRODUCTS * b.size + SPARE)
    return (size * x).astype(b.dtype)


def _clustered(rng, d, cond):
    """A (d, d) matrix of condition `cond` or more with all eigenvalues but one to three in [1, 3]."""
    values = 1 + 2 * rng.random(d)
    far = np.exp(rng.uniform(0, np.log(cond), size=min(int(rng.integers(1, 4)), d)))
    far[0] = cond
    values[: far.size] = 1 / far if rng.random() < 0.5 else far
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    matrix = (basis * values) @ basis.T
    return (matrix + matrix.T) / 2


def _build(flag, shape, rng, dtype):
    (d,), half = shape, dtype == np.float16
    limit = 100.0 if half else condition_limit(float(np.finfo(dtype).eps))
    matrix = make.spd(rng, d, make.log_uniform(rng, 3.0, 30.0 if half else min(300.0, 0.1 * limit)))
    matrix *= 2.0 ** rng.integers(-2, 3)
    if (
        d <= 32 and dtype == np.float64 and rng.random() < 0.25
    ):  # unknowns in other units: the diagonal spans up to 1e4
        units = 10.0 ** rng.uniform(-1, 1, size=d)
        matrix = units[:, None] * matrix * units
    b = make.weights(rng, 1, d, "")[0]
    if flag == "ZeroResidual":  # b = 0, or one step gives the exact answer and leaves the residual 0
        exact = rng.random() < 0.5
        matrix = np.diag(2.0 ** rng.integers(-3, 4, size=d)) if exact else matrix
        b = np.eye(d)[rng.integers(d)] * float(rng.integers(1, 9)) if exact else np.zeros(d)
    elif flag == "IllConditioned":
        matrix = _clustered(rng, d, make.log_uniform(rng, 1.0, limit))
    elif flag == "Singular":
        matrix = make.hessian(rng, d, "Singular", dtype)
        matrix *= 0.5 / np.abs(matrix).max() if half else 1.0
        b = matrix.astype(dtype).astype(float) @ b
    elif flag == "NegativeCurvature":
        values, basis = np.linalg.eigh(matrix)
        values[: int(rng.integers(1, max(d // 2, 1) + 1))] *= -1
        matrix = (basis * values) @ basis.T
        matrix = (matrix + matrix.T) / 2
    elif flag == "LossScale":
        matrix = matrix * rng.choice([2.0**-4] if half else [1e-3, 1e-5])
        b = b * rng.choice(
            {"float64": [1e-13, 1e-7, 1e4], "float32": [1e-8, 1e-5, 1e4]}.get(dtype.name, [0.25, 4.0])
        )
    elif flag == "Subnormal":  # the squares of b are below all numbers
        b = b * {"float64": 1e-300, "float32": 1e-30}.get(dtype.name, 2.0**-12)
    matrix, b = matrix.astype(dtype), make.layout(rng, b.astype(dtype), flag)
    if flag in ("NaN", "Inf") and rng.random() < 0.5:
        matrix = make.spoil(rng, matrix, flag)
    elif flag == "Empty":
        matrix, b = matrix[:0, :0], b[:0]
    elif flag in ("NaN", "Inf", "WrongShape"):
        b = make.spoil(rng, b, flag)
    return {"matvec": Operator(matrix), "b": b, "rtol": float(rng.choice(TOLERANCES[dtype.name]))}


CONTRACT = Contract(
    name="cg",
    arguments=("matvec", "b", "rtol"),
    returns=("x",),
    promises=(
        "`|b - A x| <= rtol |b|` to rounding, for b of any size",
        "exactly 0 for b = 0, and never NaN",
        f"at most {PRODUCTS} d + {SPARE} calls of `matvec`",
    ),
    readings=(
        "`matvec` takes a vector (d,) of b's kind and gives A times it; A is symmetric",
        "norms are Euclidean; `rtol` is relative to b alone, there is no absolute tolerance",
        "`x` has the shape and dtype of `b`",
        "where A is not positive definite, an error is right, and so is an x with a small residual; an x that stops "
        "short without a word is not",
    ),
    tolerance="`64 eps |A| |x|` beyond the tolerance asked for: the gap between a carried residual and the true one "
    "(Greenbaum 1997, SIAM J. Matrix Anal. Appl. 18)",
    ties="none: every x with such a residual is right",
    reference=_reference,
    checks=(
        *checks.BEFORE,
        checks.FORM,
        checks.FINITE,
        CheckSpec(
            "products", "feasible", f"matvec is called at most {PRODUCTS} d + {SPARE} times", _products
        ),
        CheckSpec("residual", "stationary", "the residual meets the tolerance; 0 for b = 0", _residual),
        *checks.AFTER,
    ),
    mistakes=mistakes(_reference),
    view=SystemView,
    flags=FLAGS,
    shapes=((1,), (2,), (3,), (5,), (8,), (12,), (16,), (24,), (32,), (48,), (140,)),
    build=_build,
    axes={"matvec": ("column", "column"), "b": ("column",)},
    call_shapes="`b` (d,), `matvec` a function of one vector (d,)",
    transforms=(transforms.scale, transforms.signs, transforms.columns),
    example="""def cg(matvec, b, rtol):
    size = abs(b).max()
    x = np.zeros_like(b)
    if size == 0:
        return x
    r = p = b / size
    rho, goal = r @ r, rtol**2 * (r @ r)
    while rho > goal:
        q = matvec(p)
        if p @ q <= 0:
            raise ValueError("need a positive definite matrix")
        a = rho / (p @ q)
        x, r = x + a * p, r - a * q
        p, rho = r + (r @ r) / rho * p, r @ r
    return x * size""",
)
