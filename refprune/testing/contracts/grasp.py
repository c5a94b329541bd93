"""`grasp`: what each weight means to the flow of the gradient, `-w (H g)`."""

from functools import partial

import numpy as np

from refprune.definitions import derivatives
from refprune.definitions.grasp import grasp_scores
from refprune.definitions.snip import flattened, switched, unflattened

from .. import checks, network_view
from ..contract import Check, CheckSpec, Contract, failed, passed
from ..network_differences import ROUNDING, STEP, TRUNCATION, Along, Crossed
from . import grasp_build, networks, score_view
from .grasp_mistakes import MISTAKES, grasp


def _batches(problem):
    return [(problem["x"], problem["y"], problem["loss"])]


def _size(problem):
    """What one rounding at each step makes of a score, in units of eps.

    The gradient errs by `E_g`, the product by its own `E_Hg` and by what H makes of the gradient's error, `|H| E_g`,
    to first order; the score by `|w|` times both.
    """
    call = list(problem.values())
    g, H = derivatives.gradient(*call), np.abs(derivatives.hessian(*call))
    off = network_view.sizes("hvp", *call, g) + H @ _off(call)
    found = unflattened(np.abs(flattened(problem["params"])) * off, problem["params"])
    return {name: found[name] for name in switched(problem["params"])}


def _off(call):
    """What the mean gradient errs by."""
    return network_view.sizes("per_sample_gradients", *call).mean(0)


def _witness(problem):
    """(Ones for every weight, what the scores sum to, its uncertainty).

    With theta_w the parameters but for biases, the sum is `-theta_w^T H g`: the slope of half the squared norm of
    the gradient in t where the weights are `(1 - t) w`. Central differences of gradients give it, without a Hessian.
    """
    layers, params, x, y, loss = problem.values()
    weights = {name: array if name in switched(params) else 0 * array for name, array in params.items()}
    ones = {name: np.ones_like(params[name]) for name in switched(params)}
    theta_w = flattened(weights)
    longest = np.abs(theta_w).max()
    if longest == 0:
        return ones, 0.0, 0.0
    along = Along(layers, params, x, y, loss)

    def half(t):
        along.outputs(-t * theta_w)  # raises where a kink is crossed
        moved = unflattened(flattened(params) - t * theta_w, params)
        return (derivatives.gradient(layers, moved, x, y, loss) ** 2).sum() / 2

    try:
        wide, near = ((half(h) - half(-h)) / (2 * h) for h in (STEP / longest, STEP / longest / 2))
    except Crossed:
        return None
    g = np.abs(derivatives.gradient(layers, params, x, y, loss))
    rounding = ROUNDING * np.finfo(float).eps * float(g @ _off(list(problem.values()))) * longest / STEP
    return ones, float((4 * near - wide) / 3), float(TRUNCATION * abs(near - wide) + rounding)


METHOD = score_view.Method(
    batches=_batches,
    define=lambda problem: grasp_scores(**problem),
    size=_size,
    witness=_witness,
    signed=True,
)


def flow(view, answer):
    """The scores sum to what a common shrinking of all weights makes of half the squared gradient."""
    if view.solved.open or view.witness is None:
        return Check(
            "", "not run", None, None, "the input is on a kink, or a step of the differences crosses one"
        )
    u, right, unsure = view.witness
    said, bound = float(answer.weight @ u), float(unsure + view.allowed @ u)
    if abs(said - right) <= bound:
        return passed(abs(said - right), bound)
    where = score_view.equal(view, answer).explanation
    text = (
        f"the scores sum to {said:.6g}; as all weights shrink, half of g^T g changes at the rate {right:.6g}"
    )
    return failed("; ".join(filter(None, [text, where])), abs(said - right), bound)


FLOW = CheckSpec(
    "flow",
    "truthful",
    "the scores sum to the slope of `g^T g / 2` as all weights shrink, by differences",
    flow,
)


EXAMPLE = """def grasp(layers, params, x, y, loss):
    import refprune as rp  # in place of your own
    network = rp.Network.from_dicts(layers)
    return rp.grasp(network, params, (x, y), rp.Unstructured(0.5), loss=loss).scores"""

CONTRACT = Contract(
    name="grasp",
    arguments=("layers", "params", "x", "y", "loss"),
    returns=("scores",),
    promises=(
        "a mapping from the name of every dense or convolution weight to its scores, in its shape and the dtype of x",
        "the score of a weight w is `-w (H g)`, with the gradient g and the Hessian H of the mean loss",
    ),
    readings=(
        "g and H are of all parameters, weights and biases of a batch normalisation too; scores are for weights only",
        "scores keep their sign, and are neither doubled nor divided by their sum; outputs are not divided by a "
        "temperature",
        *networks.READINGS,
    ),
    tolerance=(
        "`c eps |w| (E_Hg + |H| E_g)` entrywise: E is what one rounding at each step makes of the gradient and of the "
        "product, carried through the definition in absolute values; c is 4 + sqrt(n), n the longest sum (Higham, "
        "section 3.1; Higham and Mary 2019); the eps of x's dtype on top, for storing"
    ),
    ties="none: every score is unique, but on a kink of a ReLU or a tie in a max pool, where an answer that is not the "
    "definition's is undecided",
    reference=grasp(),
    checks=(*checks.BEFORE, score_view.FORM, checks.FINITE, FLOW, score_view.EQUAL, *checks.AFTER),
    mistakes=MISTAKES,
    view=partial(score_view.NetworkScoreView, method=METHOD),
    flags=grasp_build.FLAGS,
    shapes=tuple(grasp_build.SHAPES),
    build=grasp_build.build,
    axes=networks.AXES,
    transforms=networks.TRANSFORMS,
    example=EXAMPLE,
    suits=grasp_build.suits,
    sizes=lambda name: None,
    call_shapes=networks.SHAPES,
)
