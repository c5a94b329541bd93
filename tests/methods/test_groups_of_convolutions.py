"""Groups of input columns on grouped convolutions: every group of the convolution has inputs of its own."""

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.definitions.obs_groups import group_steps
from refprune.methods import unit_walks
from tests.methods.checks import EPS, replay_units, truthful
from tests.methods.problems import condition, fractions, masks, scores_of, spd, with_dead


@dataclass
class Grouped:
    """A grouped convolution: `weight` (out, inputs, 1, kw) and a stack of `grams`, and a generator."""

    weight: np.ndarray
    grams: np.ndarray
    rng: np.random.Generator

    @property
    def problem(self):
        return rp.LayerProblem(self.weight, self.grams)

    @property
    def hessian(self):
        """The Hessian over the flat weight: the Gram of each row's group along the diagonal."""
        share, d = len(self.weight) // len(self.grams), self.grams.shape[-1]
        H = np.zeros((self.weight.size, self.weight.size))
        for row in range(len(self.weight)):
            H[row * d : row * d + d, row * d : row * d + d] = self.grams[row // share]
        return H

    @property
    def channels(self):
        """The number of each weight's channel in the input of the layer, counted by a loop."""
        share, inputs = len(self.weight) // len(self.grams), self.weight.shape[1]
        labels = np.zeros(self.weight.shape, dtype=int)
        for row in range(len(self.weight)):
            for channel in range(inputs):
                labels[row, channel] = row // share * inputs + channel
        return labels

    @property
    def slack(self):
        """A bound on weights: an inverse downdated k times errs by a small multiple of eps cond."""
        return 1e5 * EPS * max(map(condition, self.grams)) * np.abs(self.weight).max()


@st.composite
def grouped(draw, dead=True):
    """2 or 3 groups of 1 to 3 rows and 1 to 3 channels with 1 or 2 kernel positions, in other units."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    groups, share, inputs, kw = (draw(st.integers(*range_)) for range_ in ((2, 3), (1, 3), (1, 3), (1, 2)))
    grams = []
    for _ in range(groups):
        gone = np.flatnonzero(rng.random(inputs * kw) < draw(st.sampled_from([0.0, 0.3]))) if dead else []
        H = spd(rng, inputs * kw - len(gone), draw(st.sampled_from([1.0, 10.0, 300.0])))
        grams.append(with_dead(H, gone) * 2.0 ** rng.integers(-3, 4))
    weight = rng.normal(size=(groups * share, inputs, 1, kw)) * 2.0 ** rng.integers(-2, 3, size=(1, 1, 1, kw))
    return Grouped(weight, np.stack(grams), rng)


def _one_of(layer, labels):
    """A random number, one of three, for each of `labels`."""
    names, number = np.unique(labels, return_inverse=True)
    return layer.rng.integers(-1, 2, size=len(names))[number.reshape(-1)].reshape(layer.weight.shape)


PARTITIONS = {  # the `labels` of a pattern with axis=1, and those that they mean for every weight
    "channels": lambda layer: (None, layer.channels),
    "sets of channels": lambda layer: (
        layer.channels.max() - np.arange(layer.channels.max() + 1) // 2,
        layer.channels.max() - layer.channels // 2,
    ),
    "the same channel of all groups": lambda layer: 2 * (layer.channels % layer.weight.shape[1:2],),
    "columns": lambda layer: 2 * (layer.channels * layer.weight.shape[3] + np.arange(layer.weight.shape[3]),),
    "any sets of columns": lambda layer: 2 * (_one_of(layer, layer.channels),),
}


@contextmanager
def no_fresh_inverses():
    """Fail where groups fall to the walk that inverts anew for every row and step."""

    def slow(*_):
        raise AssertionError("whole columns of the groups of a convolution went to partition_path")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unit_walks, "partition_path", slow)
        yield


@pytest.mark.parametrize("kind", PARTITIONS)
@given(layer=grouped(), data=st.data())
def test_obs_is_the_definition_on_the_whole_layer(kind, layer, data):
    """One problem with the Grams along the diagonal of its Hessian, and no slow walk on the way."""
    chosen, labels = PARTITIONS[kind](layer)
    total = len(np.unique(labels))
    count = data.draw(st.integers(0, total))
    with no_fresh_inverses():
        answer = rp.obs(layer.problem, rp.Groups(keep=total - count, axis=1, labels=chosen))
    v, order = definitions.obs_groups(layer.weight.ravel(), layer.hessian, labels.ravel(), count)
    assert answer.order.tolist() == order
    assert_array_equal(answer.mask, ~np.isin(labels, order))
    assert_allclose(answer.weight.ravel(), v, rtol=0, atol=layer.slack)
    total = layer.weight.ravel() @ layer.hessian @ layer.weight.ravel() / 2
    cond = max(map(condition, layer.grams))
    truthful(layer.problem.objective(answer.weight), answer.objective, answer.trace, 100 * total, EPS, cond)
    replay_units(layer.weight.ravel(), layer.hessian, labels.ravel(), answer.order.tolist(), EPS)


@pytest.mark.parametrize("kind", PARTITIONS)
@given(layer=grouped(dead=False), data=st.data())
def test_prior_zeros_of_columns(kind, layer, data):
    """Columns that a prior mask prunes in all rows of a group; what is left walks as fast."""
    chosen, labels = PARTITIONS[kind](layer)
    groups, (out, inputs, _, kw) = len(layer.grams), layer.weight.shape
    columns = data.draw(masks(groups * inputs * kw)).reshape(groups, 1, inputs, 1, kw)
    prior = np.broadcast_to(columns, (groups, out // groups, inputs, 1, kw)).reshape(layer.weight.shape)
    weight = np.where(prior, layer.weight, 0)
    total, held = len(np.unique(labels)), np.setdiff1d(labels, labels[prior])
    count = data.draw(st.integers(len(held), total))
    pattern = rp.Groups(keep=total - count, axis=1, labels=chosen)
    with no_fresh_inverses():
        answer = rp.obs(rp.LayerProblem(weight, layer.grams), pattern, mask=prior)
    K = np.flatnonzero(prior)
    hessian = layer.hessian[np.ix_(K, K)]
    v, order = definitions.obs_groups(weight.ravel()[K], hessian, labels.ravel()[K], count - len(held))
    assert answer.order.tolist() == [*held, *order]
    assert_allclose(answer.weight.ravel()[K], v, rtol=0, atol=layer.slack)
    assert_array_equal(answer.mask, prior & ~np.isin(labels, answer.order))


@pytest.mark.parametrize("rule", ["heap", "sorted", "cumulative"])
@given(layer=grouped(dead=False), data=st.data())
def test_the_groups_of_the_convolution_share_one_budget(rule, layer, data):
    """Each has the path of a layer of its own; the rule says how many channels each gives."""
    inputs, share = layer.weight.shape[1], len(layer.weight) // len(layer.grams)
    count = data.draw(st.integers(0, len(layer.grams) * inputs))
    answer = rp.obs(layer.problem, rp.Groups(keep=len(layer.grams) * inputs - count, axis=1), allocation=rule)
    alone = []
    for g, G in enumerate(layer.grams):
        own = layer.weight[g * share : (g + 1) * share]
        labels = np.tile(np.arange(inputs).repeat(own.shape[3]), share)
        alone.append((own.ravel(), np.kron(np.eye(share), G), labels))
    losses = [[loss for _, loss, _ in group_steps(*one)] for one in alone]
    for g, k in enumerate(definitions.row_counts(losses, 0, count, rule)):
        _, order = definitions.obs_groups(*alone[g], k)
        assert [p - g * inputs for p in answer.order.tolist() if p // inputs == g] == order


@pytest.mark.parametrize("name", ["magnitude", "wanda", "obd"])
@given(layer=grouped(), data=st.data())
def test_one_shot_methods_rank_the_channels_of_every_group(name, layer, data):
    groups, (out, inputs, _, kw) = len(layer.grams), layer.weight.shape
    keep = data.draw(st.integers(0, groups * inputs))
    answer = getattr(rp, name)(layer.problem, rp.Groups(keep=keep, axis=1))
    by_group = zip(layer.weight.reshape(groups, out // groups, -1), layer.grams, strict=True)
    scores = np.stack([scores_of(name, W, G) for W, G in by_group])
    sums = scores.reshape(groups, -1, inputs, kw).sum(axis=(1, 3)).ravel()  # of channel c of group g
    kept = answer.mask.reshape(groups, -1, inputs, kw)
    assert (kept == kept[:, :1, :, :1]).all()  # whole channels
    kept = kept[:, 0, :, 0].ravel()
    assert kept.sum() == keep
    if 0 < keep < len(sums):
        # sums in another order: a few eps of the sum
        assert sums[~kept].max() <= sums[kept].min() * (1 + 16 * EPS)


@pytest.mark.parametrize(("rule", "order"), [("heap", [2, 3]), ("sorted", [1, 2]), ("cumulative", [2, 1])])
def test_rules_differ_where_losses_fall_along_a_path(rule, order):
    """Step losses 0.0857 and 0.0105 of channels 1, 0; 0.045 and 0.061 of channels 2, 3."""
    grams = np.array([[[1.0, 0.9], [0.9, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
    layer = rp.LayerProblem(np.array([[1.0, -0.95], [0.3, 0.35]]), grams)
    labels = np.array([[0, 1], [2, 3]])
    answer = rp.obs(layer, rp.Groups(keep=2, axis=1), allocation=rule)
    assert sorted(answer.order.tolist()) == sorted(order)
    alike = rp.LayerProblem(np.repeat(layer.weight, 2, axis=0) / np.sqrt(2), grams)  # no row is a group
    answer = rp.obs(alike, rp.Groups(keep=2, axis=1), allocation=rule)
    assert sorted(answer.order.tolist()) == sorted(order)
    assert_array_equal(answer.mask, ~np.isin(labels.repeat(2, axis=0), order))


def test_the_first_removal_is_exact():
    """1/2 tr(W_:B ([G^-1]_BB)^-1 W_:B^T) over the rows of the channel's group, in fractions."""
    rng = np.random.default_rng(60)
    layer = Grouped(rng.normal(size=(4, 2, 1, 2)) + 1, np.stack([spd(rng, 4), 8 * spd(rng, 4)]), rng)
    answer = rp.obs(layer.problem, rp.Groups(keep=3, axis=1))
    costs = {}
    for channel in range(4):
        g, own = channel // 2, slice(2 * (channel % 2), 2 * (channel % 2) + 2)
        W = fractions(layer.weight[2 * g : 2 * g + 2].reshape(2, 4))
        cost = sum(
            next(
                loss for label, loss, _ in group_steps(w, fractions(layer.grams[g]), _lone(own)) if label == 0
            )
            for w in W
        )
        costs[channel] = float(cost)
    cheapest = min(costs, key=costs.get)
    assert answer.order.tolist() == [cheapest]
    assert answer.trace[0] == pytest.approx(costs[cheapest], rel=1e-11)
    assert answer.objective == pytest.approx(costs[cheapest], rel=1e-11)
    gone = layer.channels == cheapest
    assert_array_equal(answer.mask, ~gone)
    other = layer.channels // 2 != cheapest // 2  # the other group reads other inputs
    assert_array_equal(answer.weight[other], layer.weight[other])


def _lone(own):
    """Labels of four columns: 0 in the slice `own`, none of the others goes before it is asked for."""
    labels = np.ones(4, dtype=int)
    labels[own] = 0
    return labels


def test_a_depthwise_channel_is_a_filter_and_needs_no_inverse():
    """With two filters for each channel they fall together: 1/2 w G w each, whatever the Gram's rank."""
    grams = np.stack([np.ones((2, 2)), 4 * np.ones((2, 2)), np.eye(2)])
    weight = np.array([[1.0, 2], [3, -3], [1, 0], [0, 1], [1, 1], [1, 1]]).reshape(6, 1, 1, 2)
    layer = rp.LayerProblem(weight, grams)
    answer = rp.obs(layer, rp.Groups(keep=1, axis=1))
    assert answer.order.tolist() == [2, 1]  # 9/2 + 0, 2 + 2, 1 + 1
    assert answer.trace == (2.0, 4.0)
    assert answer.objective == 6.0
    assert_array_equal(answer.mask[:, 0, 0, 0], [True, True, False, False, False, False])
    assert_array_equal(answer.weight[:2], weight[:2])


def test_labels_by_hand():
    layer = rp.LayerProblem(np.ones((4, 2, 1, 2)), np.stack([np.eye(4)] * 2))
    channels = [[0, 1], [0, 1], [2, 3], [2, 3]]
    pattern = rp.Groups(keep=3, axis=1).on(layer)
    assert pattern.labels((4, 2, 1, 2))[:, :, 0, 0].tolist() == channels
    assert pattern.labels((4, 2, 1, 2))[:, :, 0, 1].tolist() == channels
    assert pattern.removals((4, 2, 1, 2)) == 1
    assert pattern.on(layer) is pattern
    named = rp.Groups(sparsity=0.5, axis=1, labels=np.array([7, 5, 5, -1])).on(layer)
    assert named.labels((4, 2, 1, 2))[:, :, 0, 0].tolist() == [[7, 5], [7, 5], [5, -1], [5, -1]]
    assert (named.sparsity, named.keep, named.axis) == (0.5, None, 1)


def test_other_patterns_and_other_problems_stay_as_they_are():
    grouped_layer = rp.LayerProblem(np.ones((4, 2, 1, 2)), np.stack([np.eye(4)] * 2))
    single = rp.LayerProblem(np.ones((4, 2, 1, 2)), np.eye(4)[None])
    spelled = rp.Groups(keep=1, axis=1, labels=np.arange(16).reshape(4, 2, 1, 2))
    for pattern in (
        rp.Unstructured(keep=3), rp.NM(1, 2), rp.Blocks(2, keep=1), rp.Groups(keep=1), spelled,
        rp.Groups(keep=1, labels=np.array([3, 1, 1, 3])),
    ):  # fmt: skip
        assert pattern.on(grouped_layer) is pattern
    columns = rp.Groups(keep=1, axis=1)
    assert columns.on(single) is columns
    assert columns.on(rp.Quadratic(np.eye(2), np.ones(2))) is columns


@pytest.mark.parametrize("method", [rp.obs, rp.magnitude, rp.wanda, rp.obd])
def test_a_vector_of_labels_must_name_every_input_channel(method):
    layer = rp.LayerProblem(np.ones((4, 2, 1, 2)), np.stack([np.eye(4)] * 2))
    with pytest.raises(ValueError, match=r"need labels of shape \(4, 2, 1, 2\) or \(4,\); got \(2,\)"):
        method(layer, rp.Groups(keep=1, axis=1, labels=np.array([0, 1])))


def one_gram(layer):
    """All groups on the mean of their Grams."""
    wrong = Grouped(layer.weight, np.stack([layer.grams.mean(axis=0)] * len(layer.grams)), layer.rng)
    return rp.obs(wrong.problem, rp.Groups(keep=3, axis=1)).mask


def no_update_counted(layer):
    """The cost of a channel without the others' help, 1/2 tr(W_:B G_BB W_:B^T)."""
    H, w, labels = layer.hessian, layer.weight.ravel(), layer.channels.ravel()
    costs = [np.where(labels == c, w, 0) @ H @ np.where(labels == c, w, 0) for c in range(4)]
    return layer.channels != np.argmin(costs)


MISTAKES = {
    "channel c of all groups at once": (
        lambda layer: rp.obs(layer.problem, rp.Groups(keep=1, axis=1, labels=layer.channels % 2)).mask,
        "2 units are gone, 1 were asked for",
    ),
    "columns in (kernel, channel) order": (
        lambda layer: (
            rp.obs(
                layer.problem, rp.Groups(keep=3, labels=layer.channels // 2 * 2 + np.array([[[[0, 1]]]]))
            ).mask
        ),
        "not whole channels",
    ),
    "one Gram for all groups": (one_gram, "removed unit"),
    "a cost without the update": (no_update_counted, "removed unit"),
}


def certify_channels(layer, mask):
    """One input channel of the layer is gone, whole, and it was the cheapest."""
    labels = layer.channels
    gone = np.setdiff1d(labels, labels[mask])
    assert np.array_equal(mask, ~np.isin(labels, gone)), "not whole channels"
    assert len(gone) == 1, f"{len(gone)} units are gone, 1 were asked for"
    replay_units(layer.weight.ravel(), layer.hessian, labels.ravel(), gone.tolist(), EPS)


def certify_all(method):
    """The mask of `method` on some layers of two groups, two channels each, two rows each."""
    for seed in range(61, 77):
        rng = np.random.default_rng(seed)
        layer = Grouped(
            rng.normal(size=(4, 2, 1, 2)), np.stack([spd(rng, 4, 300.0), spd(rng, 4, 300.0)]), rng
        )
        certify_channels(layer, method(layer))


def test_the_method_passes_the_certificate():
    certify_all(lambda layer: rp.obs(layer.problem, rp.Groups(keep=3, axis=1)).mask)


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_die(name):
    method, message = MISTAKES[name]
    with pytest.raises(AssertionError, match=message):
        certify_all(method)


@pytest.mark.parametrize("groups", [1, 2])
def test_filters_that_are_gone_take_no_part(groups):
    """Structured pruning leaves whole rows and whole columns of prior zeros; going on from there is as fast."""
    rng = np.random.default_rng(31)
    G = np.stack([spd(rng, 5) for _ in range(groups)])[0 if groups == 1 else slice(None)]
    prior = np.ones((6, 5), dtype=bool)
    prior[: 6 // groups, 1] = False
    prior[[0, 4]] = False
    W, rest = np.where(prior, rng.normal(size=(6, 5)), 0), [1, 2, 3, 5]
    pattern = rp.Groups(keep=5 * groups - 3, axis=1)
    with no_fresh_inverses():
        answer = rp.obs(rp.LayerProblem(W, G), pattern, mask=prior)
        expected = rp.obs(rp.LayerProblem(W[rest], G), pattern, mask=prior[rest])
    assert_array_equal(answer.order, expected.order)
    assert_array_equal(answer.mask[rest], expected.mask)
    assert not answer.mask[[0, 4]].any()
    # two stable 5 x 5 solves of weights of size 3
    slack = 64 * EPS * max(map(condition, G.reshape(-1, 5, 5)))
    assert_allclose(answer.weight[rest], expected.weight, rtol=0, atol=slack)
