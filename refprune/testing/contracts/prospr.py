"""`prospr`: how fast the loss after M steps of training changes with a switch on every weight."""

from functools import partial

from .. import checks
from .. import network_transforms as moves
from ..contract import Contract
from . import networks
from . import prospr_build as made
from . import score_view as view
from .prospr_mistakes import MISTAKES, NAMES, prospr
from .prospr_parts import METHOD
from .snip import PROMISE, SIZED

EXAMPLE = """def prospr(layers, params, batches, lr, momentum):
    import refprune as rp  # in place of your own
    network, half = rp.Network.from_dicts(layers), rp.Unstructured(sparsity=0.5)
    return rp.prospr(network, params, batches, half, lr, momentum).scores"""

CONTRACT = Contract(
    name="prospr",
    arguments=NAMES,
    returns=("scores",),
    promises=(
        f"`|dL(theta_M) / dc|` of every weight, L the mean loss of the last batch: {PROMISE.format('the samples')}",
        "with one batch alone, or lr = 0, the scores of SNIP on the last batch",
    ),
    readings=(
        *networks.READINGS,
        "`batches` is a list of pairs (x, y): one for each of the M steps, in order, and the last one for the outer "
        "loss; sizes may differ; the loss is cross_entropy throughout",
        "the switches c act once, `theta_0 = c w`; then `b_0 = g_0`, `b_t = momentum b_(t-1) + g_t`, `theta_(t+1) = "
        "theta_t - lr b_t`, g_t the gradient of the mean loss of batch t",
        "all trainable parameters take the steps, biases and those of a batch normalisation too; only weights have "
        "switches and scores",
        "nothing is detached; with the claim `detach_first` the first buffer `b_0` is a constant where momentum is not "
        "0, as in the published code",
        "lr is at least 0, momentum lies in [0, 1)",
    ),
    tolerance=f"{SIZED}; what a step rounds is carried on through the later steps, and back with their Hessians",
    ties="on a kink of a ReLU, or a tie in a max pool, at any step, many slopes are right: other scores there are "
    "left undecided",
    reference=prospr,
    checks=(
        *checks.BEFORE, view.FORM, checks.FINITE, view.NONNEGATIVE, view.DIFFERENCES, view.EQUAL, *checks.AFTER,
    ),
    mistakes=MISTAKES,
    view=partial(view.NetworkScoreView, method=METHOD),
    flags=made.FLAGS,
    shapes=made.SHAPES,
    build=made.build,
    axes={"batches": ("sample",)},
    transforms=(*made.TRANSFORMS, moves.hidden_units),
    example=EXAMPLE,
    suits=made.suits,
    sizes=lambda name: None,
    call_shapes="every `x` is (samples, inputs) or (samples, channels, height, width), every `y` (samples,) integers; "
    "`lr` and `momentum` are numbers",
)  # fmt: skip
