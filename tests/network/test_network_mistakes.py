"""Known mistakes in networks and losses: the checks of these tests convict each, and each with its own words."""

import pytest

from refprune.network import derivatives, losses, matrices, outer_products
from refprune.network.point import Point
from tests.network import test_losses_of_outputs
from tests.network.checking import case, check_chunks, check_network
from tests.network.mistakes import convict, registry

MISTAKES, mistake = registry()
ORDINARY, CURVED = case(4, "Smooth", loss="cross_entropy"), case(2, "NegativeCurvature")
SQUARED = case(8, "Smooth", loss="squared", architecture="dense")


def method(name):
    return lambda: [check_network(one, [name]) for one in (ORDINARY, CURVED, SQUARED)]


def chunks():
    for memory in (1, 3000, 20000, 2**28):
        check_chunks(ORDINARY, memory)


@mistake(
    lambda: test_losses_of_outputs.test_large_outputs_are_exact("float64"), "overflow encountered in exp"
)
def the_largest_output_is_not_subtracted(patch):
    patch.setattr(losses, "_shifted", lambda f: f)


@mistake(method("gauss_newton_product"), "gauss_newton_product: off by")
def the_softmax_has_a_diagonal_hessian(patch):
    patch.setattr(
        losses, "hessian_product", lambda loss, f, t: losses.softmax(f) * t if loss != "squared" else t
    )


@mistake(method("model_fisher"), "model_fisher: off by")
def labels_are_drawn_with_the_wrong_probability(patch):
    factor = losses.factor
    patch.setattr(
        outer_products.losses,
        "factor",
        lambda loss, f: factor(loss, f) * losses.softmax(f)[:, :, None] ** 0.5,
    )


@mistake(method("loss"), "loss: off by")
def squares_are_averaged_over_the_outputs(patch):
    values = losses.values
    patch.setattr(
        losses, "values", lambda loss, f, y: values(loss, f, y) / (f.shape[1] if loss == "squared" else 1)
    )


@mistake(method("gradient"), "gradient: off by")
def the_sum_over_samples_is_taken_for_the_mean(patch):
    init = Point.__init__
    patch.setattr(Point, "__init__", lambda self, *arguments: init(self, *arguments[:-1], 1))


@mistake(method("per_sample_gradients"), "per_sample_gradients: off by")
def gradients_of_samples_are_divided_by_their_number(patch):
    pull = Point.pull

    def wrong(self, want="sum"):
        return {name: g / (self.count if want == "samples" else 1) for name, g in pull(self, want).items()}

    patch.setattr(Point, "pull", wrong)


@mistake(method("empirical_fisher"), "empirical_fisher: off by")
def the_square_of_the_mean_is_taken_for_the_mean_of_squares(patch):
    join = outer_products.join
    patch.setattr(outer_products, "join", lambda *a: join(*a).mean(axis=0, keepdims=True) + 0 * join(*a))


@mistake(method("hvp"), "hvp: off by")
def gauss_newton_is_taken_for_the_hessian(patch):
    tangent = Point.tangent
    patch.setattr(
        Point, "tangent", lambda self, dparams, **options: tangent(self, dparams, gauss_newton=True)
    )


@mistake(method("jacobian"), "jacobian: off by|jacobian: of shape")
def outputs_come_before_samples_in_the_jacobian(patch):
    part = derivatives.jacobian_part
    patch.setattr(derivatives, "jacobian_part", lambda *a: (part(*a)[0], part(*a)[1].swapaxes(0, 1)))


@mistake(method("hessian"), "hessian: off by")
def only_the_blocks_of_the_layers_are_kept(patch):
    def wrong(total, network, columns):
        for start, end in matrices.layer_spans(network).values():
            total[start:end, end:] = 0
        return (total + total.T) / 2

    patch.setattr(matrices, "_mirrored", wrong)


@mistake(method("hessian"), "hessian: not symmetric bit for bit")
def a_mirrored_block_is_not_transposed(patch):
    def wrong(total, network, columns):
        for a, b in matrices.layer_spans(network).values():
            total[b:, a:b] = total[a:b, b:].reshape(total[b:, a:b].shape)
        return total

    patch.setattr(matrices, "_mirrored", wrong)


@mistake(method("hessian_diagonal"), "hessian_diagonal: off by")
def the_diagonal_is_that_of_gauss_newton(patch):
    tangent = Point.tangent
    patch.setattr(
        Point, "tangent", lambda self, d, start, stop, want: tangent(self, d, start, stop, want, True)
    )


@mistake(chunks, "a direction of layer .* is in no chunk")
def the_last_chunk_of_directions_is_dropped(patch):
    whole = matrices._directions
    patch.setattr(matrices, "_directions", lambda *a: (c for c in whole(*a) if c[1] < a[2].size or c[0] == 0))


@mistake(chunks, "a direction of layer .* is in two chunks")
def chunks_of_directions_overlap(patch):
    whole = matrices._directions

    def wrong(point, key, indices, memory):
        for a, b, _ in whole(point, key, indices, memory):
            for c, d, directions in whole(point, key, indices[a : b + 1], 2**28):
                yield a + c, a + d, directions

    patch.setattr(matrices, "_directions", wrong)


@pytest.mark.parametrize(("make", "check", "words"), MISTAKES)
def test_mistakes_are_convicted(make, check, words, monkeypatch):
    convict(make, check, words, monkeypatch)


def test_every_mistake_has_its_own_words():
    words = [mistake.values[2] for mistake in MISTAKES]
    assert len(words) == len(set(words)) >= 14
