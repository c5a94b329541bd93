"""`rp.iterative_magnitude`: the definition, stages, training between, rewinding, units, every kind of array."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.arrays import dtype_name
from refprune.pruning.stages import cubic_schedule
from tests.stand_in import xp as stand_in
from tests.unit_networks import NETWORKS, labels, problem

HALF = rp.Unstructured(sparsity=0.5)


def flat(network, arrays):
    return np.concatenate([np.ravel(arrays[key]) for key in network.prunable])


def stirred(mask, stage, weight):
    """What training may do to weights: anything, but pruned ones stay 0. A function of (weight, mask, stage) alone."""
    moved = np.sin(7 * weight + stage + np.arange(weight.size).reshape(weight.shape))
    return np.where(mask, moved, 0)


def between(network):
    """The same for a whole network, by its flat prunable weights; biases move by 1."""

    def train(params, masks, stage):
        weight, mask = flat(network, params), flat(network, masks)
        moved, at, found = stirred(mask, stage, weight), 0, {}
        for key, value in params.items():
            found[key] = value + 1
            if key in network.prunable:
                found[key], at = moved[at : at + value.size].reshape(value.shape), at + value.size
        return found

    return train


@pytest.mark.parametrize("rewinds", [False, True])
@pytest.mark.parametrize("schedule", ["cubic", "exponential"])
@pytest.mark.parametrize("name", NETWORKS)
def test_is_the_definition(name, schedule, rewinds):
    network, params, *_ = problem(name)
    start = problem(name, seed=1)[1] if rewinds else None
    pattern = rp.Unstructured(sparsity=0.8)
    answer = rp.iterative_magnitude(
        network,
        params,
        pattern,
        between(network),
        steps=4,
        start_sparsity=0.1,
        schedule=schedule,
        rewind=start,
    )
    weight = flat(network, params)
    d = weight.size
    shares = definitions.zhu_gupta(0.1, 0.8, 4)
    if schedule == "exponential":
        shares = [1 - 0.9 ** (1 - t / 4) * 0.2 ** (t / 4) for t in range(1, 5)]
    counts = [round(share * d) for share in shares]
    right, mask = definitions.iterative_magnitude(
        weight,
        counts,
        lambda w, m, stage: stirred(m, stage, w),
        None if start is None else flat(network, start),
    )
    assert_array_equal(flat(network, answer.mask), mask)
    assert_array_equal(flat(network, answer.weight), right)
    assert answer.trace == tuple(count / d for count in counts)
    for key in params.keys() - set(network.prunable):  # other parameters: trained three times, or rewound
        assert_array_equal(answer.weight[key], start[key] if rewinds else params[key] + 1 + 1 + 1)


@given(st.integers(0, 2**32))
@settings(max_examples=25)
def test_without_training_stages_are_one_shot(seed):
    """Whatever the schedule; with ties, too."""
    rng = np.random.default_rng(seed)
    network = rp.mlp([3, 5, 4])
    params = {key: rng.integers(-3, 4, size=shape).astype(float) for key, shape in network.shapes.items()}
    pattern = [
        rp.Unstructured(sparsity=float(rng.random())),
        rp.Unstructured(keep=int(rng.integers(36))),
        rp.Unstructured(sparsity=float(rng.random()), scope="row"),
        rp.Groups(keep=int(rng.integers(6)), axis=int(rng.integers(2))),
        rp.Groups(sparsity=float(rng.random())),
    ][rng.integers(5)]
    options = {"steps": int(rng.integers(1, 9)), "schedule": str(rng.choice(["cubic", "exponential"]))}
    where = {"allocation": "global"} if isinstance(pattern, rp.Groups) and pattern.keep is not None else {}
    many, once = (
        rp.iterative_magnitude(network, params, pattern, **where, **o) for o in (options, {"steps": 1})
    )
    for key in network.prunable:
        assert_array_equal(many.mask[key], once.mask[key])
        assert_array_equal(many.weight[key], once.weight[key])
    if isinstance(pattern, rp.Unstructured) and pattern.scope == "row":
        for key in network.prunable:
            assert_array_equal(once.mask[key], rp.magnitude(params[key], pattern).mask)


@pytest.mark.parametrize(("axis", "names"), [(0, ("0.weight", "2.weight")), (1, ("2.weight", "0.weight"))])
def test_units_that_went_are_out_of_the_sums_of_their_neighbours(axis, names):
    """The unit with 1 + 1 goes first, and takes 9 and 7 out of the sums 5 + 9 and 6 + 7: then 5 is the least."""
    network, (own, other) = rp.mlp([2, 2, 2, 2], bias=False), names
    sums, ends, rest = np.array([[5.0, 9.0], [6.0, 7.0]]), np.array([[8.0, 8.0], [1.0, 1.0]]), np.ones((2, 2))
    params = {"0.weight": rest if axis else ends, "2.weight": sums, "4.weight": ends if axis else rest}
    params = {key: value.T if axis else value for key, value in params.items()}
    pattern = rp.Groups(keep=2, axis=axis)
    once, stages = (
        rp.iterative_magnitude(network, params, pattern, steps=steps, allocation="global") for steps in (1, 4)
    )
    assert stages.trace == (0.25, 0.5, 0.5, 0.5)
    assert once.scores[own].tolist() == [16.0, 2.0]
    assert once.scores[other].tolist() == [14.0, 13.0]
    assert stages.scores[other].tolist() == [0.0, 6.0]
    assert any(np.any(stages.mask[key] != once.mask[key]) for key in network.prunable)


def test_masks_shrink_and_counts_are_the_schedules():
    network, params, *_ = problem("convolutions")
    seen = []

    def train(params, masks, stage):
        seen.append((stage, masks, params))
        return between(network)(params, masks, stage)

    answer = rp.iterative_magnitude(network, params, HALF, train, steps=5)
    d = flat(network, params).size
    assert [stage for stage, *_ in seen] == [1, 2, 3, 4]
    masks = [masks for _, masks, _ in seen] + [answer.mask]
    for share, mask in zip(cubic_schedule(0, 0.5, 5), masks, strict=True):
        assert np.count_nonzero(~flat(network, mask)) == round(share * d)
    for one, more in pairwise(masks):
        assert (flat(network, more) <= flat(network, one)).all()
    for _, mask, params in seen:
        assert not flat(network, params)[~flat(network, mask)].any()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", NETWORKS)
def test_units_by_the_sum_of_their_magnitudes(name, axis):
    network, params, *_ = problem(name)
    of, theta = labels(name, axis), network.flatten(params)
    sums = np.bincount(of[of >= 0], abs(theta[of >= 0]))
    answer = rp.iterative_magnitude(
        network, params, rp.Groups(keep=2, axis=axis), steps=1, allocation="global"
    )
    np.testing.assert_allclose(np.concatenate(list(answer.scores.values())), sums, rtol=1e-14)
    gone = np.argsort(sums)[:-2]
    out = np.isin(labels(name, 0), gone) | np.isin(labels(name, 1), gone)
    assert_array_equal(network.flatten(answer.weight), np.where(out, 0, theta))
    small, values = rp.shrink(network, answer.weight, answer.mask)
    x = problem(name)[2]
    right = network.forward(answer.weight, x)
    assert np.abs(small.forward(values, x) - right).max() <= 1e-12 * np.abs(right).max()


def test_units_that_went_stay_away():
    """Whatever training makes of the others."""
    network, params, x, y, _ = problem("perceptron")
    seen = []

    def train(params, masks, stage):
        seen.append(masks)
        return rp.train(network, params, x, y, epochs=1, lr=1.0, masks=masks)

    answer = rp.iterative_magnitude(network, params, rp.Groups(keep=2), train, steps=4, allocation="global")
    for masks in seen:
        assert all((answer.mask[key] <= mask).all() for key, mask in masks.items())
    assert len(answer.trace) == 4
    assert answer.trace[-1] == 6 / 8


def test_weights_that_went_stay_away_where_all_are_zero():
    network = rp.Network([rp.Dense(4, 1, bias=False)])
    params, masks = {"0.weight": np.array([[4.0, 3.0, 2.0, 1.0]])}, []

    def zeros(values, mask, stage):
        masks.append(mask["0.weight"].tolist())
        return {key: 0 * value for key, value in values.items()}

    answer = rp.iterative_magnitude(
        network, params, rp.Unstructured(keep=1), zeros, steps=3, schedule="exponential"
    )
    assert masks == [[[True, True, True, False]], [[False, True, True, False]]]
    assert answer.mask["0.weight"].tolist() == [[False, False, True, False]]


def test_units_share_one_count_where_that_is_asked():
    """The units of the second layer have sums of half the size: all of them go first."""
    network = rp.mlp([8, 6, 6, 2], bias=False)
    rng = np.random.default_rng(12)
    params = {key: rng.uniform(1, 2, size=shape) for key, shape in network.shapes.items()}
    params["2.weight"] /= 4
    half = rp.Groups(sparsity=0.5)
    each, shared = (rp.iterative_magnitude(network, params, half, allocation=a) for a in (None, "global"))
    left = [[mask.any(axis=1).sum() for mask in answer.mask.values()][:2] for answer in (each, shared)]
    assert left == [[3, 3], [6, 0]]
    assert_array_equal(
        flat(network, each.mask),
        flat(network, rp.iterative_magnitude(network, params, half, allocation="layer").mask),
    )


def test_a_ticket_has_the_old_values_and_statistics():
    network, params, *_ = problem("convolutions")
    start = problem("convolutions", seed=4)[1]
    answer = rp.iterative_magnitude(network, params, HALF, steps=3, rewind=start)
    for key, value in start.items():
        kept = answer.mask.get(key, np.full(value.shape, True))
        assert_array_equal(answer.weight[key], np.where(kept, value, 0))
        assert not np.shares_memory(answer.weight[key], value)
    once = rp.iterative_magnitude(network, params, HALF, steps=1)
    assert (flat(network, answer.mask) != flat(network, once.mask)).any()  # later stages rank the old values


def test_nothing_given_changes():
    network, params, *_ = problem("perceptron")
    before = {key: value.copy() for key, value in params.items()}

    def train(params, masks, stage):
        for array in (*params.values(), *masks.values()):
            array[...] = 0
        return params

    answer = rp.iterative_magnitude(network, params, HALF, train, steps=2)
    for key, value in params.items():
        assert_array_equal(value, before[key])
    assert rp.sparsity(answer.mask) == round(0.5 * 41) / 41


@pytest.mark.parametrize(
    "pattern",
    [HALF, rp.Unstructured(keep=1, scope="row"), rp.NM(1, 2, remainder="dense"), rp.Groups(keep=2)],
    ids=["half", "rows", "NM", "Groups"],
)
def test_on_every_kind_of_array(backend, pattern):
    network, params, *_ = problem("convolutions")
    params = {key: a.astype("float32").astype(float) for key, a in params.items()}
    own = {key: backend.asarray(a) for key, a in params.items()}
    steps = 1 if getattr(pattern, "keep", None) else 3
    right = rp.iterative_magnitude(network, params, pattern, steps=steps)
    answer = rp.iterative_magnitude(network, own, pattern, lambda params, masks, stage: params, steps=steps)
    for key, array in answer.weight.items():
        assert type(array) is type(own[key])
        assert dtype_name(array.dtype) == backend.dtype
        assert_array_equal(backend.numpy(array), right.weight[key])
    for key, mask in answer.mask.items():
        assert type(mask) is type(own[key])
        assert_array_equal(backend.numpy(mask), right.mask[key])
    assert answer.trace == right.trace


def test_half_precision_comes_back():
    network, params, *_ = problem("perceptron")
    half = {key: a.astype("float16") for key, a in params.items()}
    answer = rp.iterative_magnitude(network, half, HALF, lambda params, masks, stage: params, steps=2)
    assert {a.dtype.name for a in answer.weight.values()} == {"float16"}


def test_mixtures_are_refused():
    network, params, x, y, _ = problem("perceptron")
    there = {key: stand_in.asarray(value) for key, value in params.items()}
    for call in (
        lambda: rp.iterative_magnitude(network, params, HALF, rewind=there),
        lambda: rp.iterative_magnitude(network, params, HALF, lambda *_: there),
        lambda: rp.iterative_magnitude(
            network, params, HALF, lambda own, *_: own | {"4.bias": there["4.bias"]}
        ),
        lambda: rp.iterative_magnitude(network, params | {"4.bias": there["4.bias"]}, HALF),
        lambda: rp.sosp(network, there, x, y, rp.Groups(keep=2)),
        lambda: rp.sosp(network, params | {"4.bias": there["4.bias"]}, x, y, rp.Groups(keep=2)),
    ):
        with pytest.raises(TypeError, match="need arrays of one kind"):
            call()


def test_a_sum_beyond_the_range_is_an_error():
    network = rp.mlp([2, 3, 2], bias=False)
    params = {"0.weight": np.full((3, 2), 1.5e308), "2.weight": np.ones((2, 3))}
    with pytest.raises(np.linalg.LinAlgError, match="need the sum over a unit in the range of float64"):
        rp.iterative_magnitude(network, params, rp.Groups(sparsity=0.5))


def revived(params, masks, stage):
    return {key: value + 1 for key, value in params.items()}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"network": []}, TypeError, "need a Network; got list"),
        ({"params": {}}, ValueError, "missing"),
        ({"between": 3}, TypeError, "need between to be a callable; got int"),
        ({"between": revived}, ValueError, "need pruned weights of 0.weight to be 0 after between"),
        ({"between": lambda *_: {}}, ValueError, "^between: need params named .* missing"),
        ({"between": lambda *_: None}, TypeError, "^between: need params to be a dict"),
        ({"steps": 0}, ValueError, "need steps"),
        ({"start_sparsity": 0.7}, ValueError, "need start_sparsity <= 0.5, the pattern's; got 0.7"),
        ({"schedule": "linear"}, ValueError, "need schedule to be one of cubic, exponential; got 'linear'"),
        (
            {"schedule": ["cubic"]},
            ValueError,
            r"need schedule to be one of cubic, exponential; got \['cubic'\]",
        ),
        ({"rewind": {}}, ValueError, "^rewind: need params named .* missing"),
        ({"rewind": 1}, TypeError, "^rewind: need params to be a dict"),
        ({"progress": "yes"}, TypeError, "need progress"),
        (
            {"pattern": rp.Unstructured(keep=2, scope="layer")},
            ValueError,
            "need sparsity, not keep, in stages",
        ),
        (
            {"pattern": rp.Groups(keep=2), "allocation": "layer"},
            ValueError,
            "need sparsity, not keep, in stages",
        ),
        (
            {"pattern": rp.Blocks(2, sparsity=0.5)},
            TypeError,
            "need pattern to be Unstructured, NM or Groups; got Blocks",
        ),
        ({"allocation": "layer"}, ValueError, "need allocation with Groups alone"),
    ],
)
def test_arguments_that_do_not_fit(changes, error, message):
    network, params, *_ = problem("perceptron")
    given = {"network": network, "params": params, "pattern": HALF} | changes
    with pytest.raises(error, match=message):
        rp.iterative_magnitude(**given)


def check(run):
    """AssertionError that names what a run does otherwise: 20 weights, three stages to a sparsity of 0.9, cubic.

    `run(weight, train)` gives (weight, mask) of the end; `train(weight, mask, stage)` is called between stages.
    """
    start, states = np.random.default_rng(11).normal(size=20), []

    def train(w, mask, stage):
        states.append((w.copy(), mask.copy()))
        return stirred(mask, stage, w)

    states.append(run(start, train))
    assert len(states) == 3, "trained at other times than between two stages"
    counts = [np.count_nonzero(~mask) for _, mask in states]
    assert counts[0] == 13, "the first stage does not take its share of the schedule"
    assert counts[1] == 17, "a later stage does not take its share of all weights"
    assert counts[-1] == 18, "the last count is not the pattern's"
    ranked, before = start, np.full(20, True)
    for stage, (w, mask) in enumerate(states, 1):
        assert (mask <= before).all(), "a pruned weight is back"
        assert abs(ranked[before & ~mask]).max() <= abs(ranked[mask]).min(), (
            "not the smallest that training left"
        )
        assert (w == np.where(mask, ranked, 0)).all(), "kept weights moved in a stage"
        ranked, before = stirred(mask, stage, w), mask


def staged(mistake=""):
    """The method in a few lines, with one step done otherwise."""

    def run(weight, train):
        w, kept = weight, np.full(20, True)
        for stage in (1, 2, 3):
            share = 0.9 * (stage / 3 if mistake == "linear schedule" else 1 - (1 - stage / 3) ** 3)
            count = round(share * 20)
            if mistake == "a share of those that are left":
                count = 20 - round((1 - share) * np.count_nonzero(kept)) if stage < 3 else 18
            rank = {"signed": w, "the largest": -abs(w), "the first weights": abs(weight)}.get(
                mistake, abs(w)
            )
            living = np.flatnonzero(kept if mistake != "what is gone may come back" else kept | True)
            order = living[np.argsort(rank[living])]
            kept = np.full(20, False)
            kept[order[len(living) - (20 - count) - (mistake == "one short" and stage == 3) :]] = True
            w = np.where(kept, w * (1.5 if mistake == "scales up" else 1), 0)
            if stage < 3 or mistake == "trains at the end":
                w = train(w, kept, stage)
            if mistake == "what is gone may come back":
                w = np.where(w == 0, weight, w)
        return np.where(kept, w, 0), kept

    return run


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("the first weights", "not the smallest that training left"),
        ("signed", "not the smallest that training left"),
        ("the largest", "not the smallest that training left"),
        ("linear schedule", "the first stage does not take its share of the schedule"),
        ("a share of those that are left", "a later stage does not take its share of all weights"),
        ("one short", "the last count is not the pattern's"),
        ("scales up", "kept weights moved in a stage"),
        ("trains at the end", "trained at other times than between two stages"),
        ("what is gone may come back", "a pruned weight is back"),
    ],
)
def test_known_mistakes_are_named(mistake, message):
    with pytest.raises(AssertionError, match=message):
        check(staged(mistake))


def test_ours_makes_none_of_them():
    network = rp.mlp([4, 5], bias=False)

    def ours(weight, train):
        def trained(params, masks, stage):
            moved = train(params["0.weight"].ravel(), masks["0.weight"].ravel(), stage)
            return {"0.weight": moved.reshape(5, 4)}

        given = {"0.weight": weight.reshape(5, 4)}
        answer = rp.iterative_magnitude(network, given, rp.Unstructured(sparsity=0.9), trained, steps=3)
        return answer.weight["0.weight"].ravel(), answer.mask["0.weight"].ravel()

    check(ours)
    check(staged())
