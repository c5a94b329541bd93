"""Every layer-wise method on convolutions: what a dense layer can, with the right inputs at every position.

A convolution is the dense layer of its patches. Three things are said here of each method in `METHODS` on each
convolution in `CONVOLUTIONS`: its problem is the one of the images; its answer is that of the matrix form, with
N:M and blocks along the input channels at one kernel position; and a grouped convolution is as many independent
layers. To add a method is to add its row.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from tests.methods.checks import EPS
from tests.methods.convolutions import (
    BLOCKS,
    CHANNELS,
    CONVOLUTIONS,
    LAYER,
    METHODS,
    ROWS,
    UNITS,
    best_weights,
    certify,
    matrix_form,
    slack,
)

PAIRS = [
    pytest.param(method, conv, pattern, id=f"{name}-{shape}-{type(pattern).__name__}{number}")
    for name, method in METHODS.items()
    for shape, conv in CONVOLUTIONS.items()
    for number, pattern in enumerate(method.patterns)
    if conv.channels // conv.groups % 2 == 0 or pattern not in (CHANNELS, BLOCKS)
]


@pytest.mark.parametrize("conv", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_the_gram_is_that_of_the_patches(conv):
    (_, images), problem = conv.problem(), conv.layer()
    if conv.options.get("padding") == ((0, 2), (1, 0)):  # the definition pads both sides alike
        images = np.pad(images, ((0, 0), (0, 0), (0, 2), (1, 0)))
        wanted = definitions.gram_conv(images, conv.kernel)
    else:
        wanted = definitions.gram_conv(images, conv.kernel, **conv.options)
    assert problem.gram.shape == wanted.shape
    assert (problem.rows, problem.columns, problem.groups) == (
        conv.out, conv.channels // conv.groups * conv.kernel[0] * conv.kernel[1], conv.groups
    )  # fmt: skip
    size = np.sqrt(np.diagonal(wanted, axis1=-2, axis2=-1))
    assert np.all(abs(problem.gram - wanted) <= 1000 * EPS * size[..., :, None] * size[..., None, :])


@pytest.mark.parametrize(("method", "conv", "pattern"), PAIRS)
def test_the_objective_is_the_change_of_the_outputs(method, conv, pattern):
    problem = conv.layer()
    answer = method.run(problem, pattern)
    certify(conv, pattern, answer)
    if not method.moves:
        assert_array_equal(answer.weight[answer.mask], problem.weight[answer.mask])


@pytest.mark.parametrize(("method", "conv", "pattern"), PAIRS)
def test_the_answer_is_that_of_the_matrix_form(method, conv, pattern):
    problem = conv.layer()
    dense, pattern_of_dense, sequence = matrix_form(problem, pattern)
    same_in_matrix_form(
        problem, sequence, method.run(problem, pattern), method.run(dense, pattern_of_dense), pattern
    )


def same_in_matrix_form(problem, sequence, answer, wanted, pattern):
    """The `answer` is the one `wanted` of the matrix form, whose columns stand in `sequence`."""
    V, mask = np.empty_like(wanted.weight), np.empty_like(wanted.mask)
    V[:, sequence], mask[:, sequence] = wanted.weight, wanted.mask
    assert_array_equal(answer.mask, mask.reshape(problem.weight.shape))
    assert_allclose(answer.weight, V.reshape(problem.weight.shape), rtol=0, atol=slack(problem))
    if answer.trace:
        assert_allclose(answer.trace, wanted.trace, rtol=0, atol=slack(problem) * np.max(answer.trace))
    if isinstance(pattern, (rp.Groups, rp.Unstructured)) and answer.order is not None:
        assert_array_equal(answer.order, wanted.order)


@pytest.mark.parametrize("shape", ["padding of one side", "all"])
@pytest.mark.parametrize("name", METHODS)
def test_prior_masks_have_the_shape_of_the_weight(name, shape):
    """Some weights, and a channel of the first group's filters, are zeros from before."""
    problem = CONVOLUTIONS[shape].layer()
    prior = np.random.default_rng(71).random(problem.weight.shape) < 0.9
    prior[: problem.rows // problem.groups, 1] = False
    problem = rp.LayerProblem(np.where(prior, problem.weight, 0), problem.gram)
    for pattern in METHODS[name].patterns:
        if pattern == ROWS:
            pattern = rp.Unstructured(keep=3, scope="row")
        dense, pattern_of_dense, sequence = matrix_form(problem, pattern)
        answer = METHODS[name].run(problem, pattern, mask=prior)
        mask = prior.reshape(problem.rows, -1)[:, sequence]
        wanted = METHODS[name].run(dense, pattern_of_dense, mask=mask)
        same_in_matrix_form(problem, sequence, answer, wanted, pattern)
        assert not answer.mask[~prior].any()


ALONE = [
    pytest.param(method, conv, pattern, id=f"{name}-{shape}-{type(pattern).__name__}{number}")
    for name, method in METHODS.items()
    for shape, conv in CONVOLUTIONS.items()
    for number, pattern in enumerate(method.alone)
    if conv.groups > 1 and (conv.channels // conv.groups % 2 == 0 or pattern not in (CHANNELS, BLOCKS))
]


@pytest.mark.parametrize(("method", "conv", "pattern"), ALONE)
def test_a_grouped_convolution_is_stacked_layers(method, conv, pattern):
    """Each group alone, on its own channels of the images, gives its share of the answer at its own count."""
    weight, images = conv.problem()
    answer = method.run(conv.layer(), pattern)
    share, each = conv.out // conv.groups, conv.channels // conv.groups
    options = {name: value for name, value in conv.options.items() if name != "groups"}
    for g in range(conv.groups):
        rows, channels = slice(g * share, (g + 1) * share), slice(g * each, (g + 1) * each)
        layer = rp.LayerProblem.from_inputs(weight[rows], images[:, channels], **options)
        own = method.run(layer, at_count(pattern, layer, answer.mask[rows]))
        assert_array_equal(answer.mask[rows], own.mask)
        assert_allclose(answer.weight[rows], own.weight, rtol=0, atol=slack(layer))


@pytest.mark.parametrize("shape", [shape for shape, conv in CONVOLUTIONS.items() if conv.groups > 1])
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.refit is not None])
def test_the_best_weights_of_a_group_are_those_of_a_layer_of_its_own(name, shape):
    problem, method = CONVOLUTIONS[shape].layer(), METHODS[name]
    share = problem.rows // problem.groups
    for pattern in (LAYER, ROWS):
        answer = method.run(problem, pattern)
        for g in range(problem.groups):
            rows = slice(g * share, (g + 1) * share)
            alone = rp.LayerProblem(problem.weight[rows], problem.gram[g])
            wanted = rp.optimal_weights(alone, answer.mask[rows], damp=method.refit)
            assert_allclose(answer.weight[rows], wanted.weight, rtol=0, atol=slack(alone))


def at_count(pattern, layer, mask):
    """The pattern for one group that prunes as much of it as `mask`, an answer's part, does."""
    if isinstance(pattern, rp.NM) or getattr(pattern, "scope", None) == "row":
        return pattern
    if isinstance(pattern, rp.Unstructured):
        return rp.Unstructured(keep=int(mask.sum()), scope=pattern.scope)
    labels = pattern.labels(mask.shape)
    keep = len(np.unique(labels[mask]))
    if isinstance(pattern, rp.Blocks):
        return rp.Blocks(pattern.size, keep=keep, scope="layer")
    return rp.Groups(keep=keep, axis=pattern.axis)


def test_labels_name_any_partition_of_a_kernel():
    """Kernel rows as groups: in the weight's shape, for convolutions with groups too."""
    for shape in ("plain", "all"):
        problem = CONVOLUTIONS[shape].layer()
        pattern = rp.Groups(keep=5, labels=np.indices(problem.weight.shape)[0] * 2 + _kernel_rows(problem))
        for run in (rp.magnitude, rp.wanda, rp.obd, rp.obs, rp.alps, best_weights):
            answer = run(problem, pattern)
            kept = answer.mask.all(axis=(1, 3))  # (filter, kernel row)
            assert_array_equal(kept, answer.mask.any(axis=(1, 3)))
            assert kept.sum() == 5


def _kernel_rows(problem):
    return np.indices(problem.weight.shape)[2]


def test_depthwise_kernels_have_one_channel_and_no_groups_of_two():
    problem = CONVOLUTIONS["depthwise"].layer()
    for name, method in METHODS.items():
        with pytest.raises(
            ValueError, match=r"need columns in a multiple of m = 2, or remainder='dense'; got 1"
        ):
            method.run(problem, CHANNELS)
        kept = method.run(problem, rp.NM(1, 2, remainder="dense"))
        assert kept.mask.all(), name
        assert_allclose(kept.weight, problem.weight, rtol=0, atol=slack(problem))


@pytest.mark.parametrize("shape", ["padding", "groups"])
@pytest.mark.parametrize("name", METHODS)
def test_channels_that_fill_no_group_stay_dense_at_every_position(name, shape):
    """Four channels: a group of three, and one that belongs to none."""
    problem = CONVOLUTIONS[shape].layer()
    answer = METHODS[name].run(problem, rp.NM(1, 3, remainder="dense"))
    assert answer.mask[:, 3].all()
    assert (answer.mask[:, :3].sum(axis=1) == 1).all()


def test_sparsegpt_lets_the_rows_of_all_groups_compete_in_a_block():
    problem = CONVOLUTIONS["groups"].layer()
    answer = rp.sparsegpt(problem, rp.Unstructured(sparsity=0.25), block_size=6)
    pruned = ~answer.mask.reshape(4, 4, 6)  # (row, block, column)
    assert pruned.sum(axis=(0, 2)).tolist() == [6, 6, 6, 6]
    assert len(set(pruned.sum(axis=(1, 2)).tolist())) > 1
    with pytest.raises(TypeError, match="need an Unstructured or NM pattern; got Groups"):
        rp.sparsegpt(problem, UNITS[1])
