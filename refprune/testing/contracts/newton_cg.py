"""`newton-cg`: the kept weights of one layer, readjusted to what the dense network computes some operations ahead."""

from .. import checks
from ..architectures import PALETTE
from ..contract import Contract
from . import tail_build as made
from . import tail_view as rules
from .networks import READINGS as NETWORKS
from .tail_mistakes import mistakes
from .tail_parts import minimised, remembered

READINGS = (
    *NETWORKS[:4],
    "`params` is keyed like a PyTorch `state_dict` (`3.body.0.weight`); all of it is the dense network",
    "`layer` is the index in `layers` of a dense layer or a convolution, `mask` a boolean array of its weight's shape, "
    "True = kept; its bias and all other layers stay as they are",
    "the objective is the sum over the outputs that are compared, and over their entries, of squared differences from "
    "the dense network on the same `x`; the mean over samples (a factor changes nothing)",
    "compared are the layer's own output and those of the next `horizon` operations; the network may end before",
    "dense layers, convolutions and activations are operations, pools, normalisations and flatten are not; those "
    "inside a residual block count one by one, body before shortcut",
    "the search starts from the dense weight times the mask; any method is right that ends where nothing is left to "
    "gain, with the Hessian or the Gauss-Newton matrix",
    "where conjugate gradients meet a negative curvature at once, the negative gradient is a direction too: a method "
    "that stays there is not at the end",
)
TOLERANCE = (
    "1e-4 of the start's gradient, beside what rounding makes of it: `c eps E` for every output that is compared, as "
    "for the derivatives of networks, and `sqrt(8 L dF)`, whose decrease is lost in four times the rounding dF of the "
    "objective, L its largest curvature. At a kink: 1e-6 of the objective, beside its rounding"
)
TIES = "the objective may have several minima: any answer that keeps these promises"


REFERENCE = remembered(minimised)  # the definition's steps, until the gradient is small

CONTRACT = Contract(
    name="newton-cg",
    arguments=("layers", "params", "x", "layer", "mask", "horizon"),
    returns=("weight",),
    promises=(
        "pruned entries are exactly 0",
        "the objective is not above that of the dense weight times the mask",
        "the gradient on the kept entries is at most 1e-4 of that at the start",
        "where a ReLU or a max pool comes between, a larger one is right at a kink: where the definition's search "
        "finds no decrease above 1e-6 of the objective, along the negative gradient or along the Gauss-Newton step",
    ),
    readings=READINGS,
    tolerance=TOLERANCE,
    ties=TIES,
    reference=REFERENCE,
    checks=(
        *checks.BEFORE,
        rules.FORM,
        checks.FINITE,
        checks.ZEROS,
        rules.OBJECTIVE,
        rules.NO_WORSE,
        rules.STATIONARY,
        *checks.AFTER,
    ),
    mistakes=mistakes(REFERENCE),
    view=rules.TailView,
    flags=made.FLAGS,
    shapes=tuple(PALETTE),
    build=made.build,
    axes={"x": ("sample",)},
    transforms=made.TRANSFORMS,
    example="""def newton_cg(layers, params, x, layer, mask, horizon):
    import refprune as rp  # in place of your own
    network = rp.Network.from_dicts(layers)
    goal = rp.Reconstruction(network, params, x, layer, horizon)
    settings = {"curvature": "gauss-newton", "max_iter": 100}
    answer = rp.newton_cg(goal, mask.reshape(-1), goal.weight, **settings)
    return answer.weight.reshape(mask.shape)""",
    suits=made.suits,
    sizes=lambda name: None,
    call_shapes="`x` is (samples, inputs) or (samples, channels, height, width), `mask` like the layer's weight",
)
