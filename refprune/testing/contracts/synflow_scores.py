"""`synflow-scores`: the flow through every weight of a network, `|w dR/dw|`, R its outputs on an input of ones."""

from ..contract import Contract
from ..network_transforms import hidden_units
from . import networks, synflow_build
from .synflow_mistakes import MISTAKES, synflow
from .synflow_view import CHECKS, FlowView

EXAMPLE = """def synflow_scores(layers, params, input_shape):
    import refprune as rp  # in place of your own
    network = rp.Network.from_dicts(layers)
    return rp.synflow(network, params, tuple(input_shape), rp.Unstructured(0.5), steps=1).scores"""

CONTRACT = Contract(
    name="synflow-scores",
    arguments=("layers", "params", "input_shape"),
    returns=("scores",),
    promises=(
        "a mapping from the name of every dense or convolution weight to its scores, in its shape, none of them "
        "negative",
        "the score of a weight w is `|w dR/dw|`, R the sum of the outputs on one input of ones, of the network with "
        "its weights in size",
        "the scores of a layer sum to the flow through it: to R where nothing goes past it",
    ),
    readings=(
        "`input_shape` is that of one sample, without an axis for the batch: (inputs,) or (channels, height, width)",
        "biases take no part, and every activation counts as the identity",
        "batch normalisation multiplies by `|weight| / sqrt(running_var + eps)` and shifts nothing",
        "a max pool takes its winners; a residual block adds what goes through its body and its shortcut",
        "one step: nothing is pruned in between",
        "scores are float64 whatever the dtype of the parameters, since the flow through deep networks leaves the "
        "range of float32; in the dtype of the parameters they are as good where they are inside its range",
        *networks.READINGS[:5],
    ),
    tolerance="`c eps` of each score, eps that of the parameters' dtype: nothing is negative, so nothing cancels, and "
    "c is twice the number of layers times `4 + sqrt(n)`, n the longest sum (Higham, section 3.1; Higham and Mary "
    "2019), and twice the size of the score's logarithm on top, for sums of logarithms",
    ties="entries of a max pool's window that are equal to rounding have equal flows as a rule; where they have not, "
    "an answer that is not the definition's is undecided",
    reference=synflow(),
    checks=CHECKS,
    mistakes=MISTAKES,
    view=FlowView,
    flags=synflow_build.FLAGS,
    shapes=tuple(synflow_build.SHAPES),
    build=synflow_build.build,
    transforms=(
        hidden_units,
        synflow_build.larger_image,
        synflow_build.signs,
        synflow_build.shifts,
        synflow_build.scale,
        synflow_build.activations,
    ),
    example=EXAMPLE,
    suits=synflow_build.suits,
    sizes=lambda name: None,
    call_shapes="`input_shape` is a tuple of 1 or 3 integers",
)
