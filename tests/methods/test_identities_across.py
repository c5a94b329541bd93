"""Identities across methods, numbered as on the page that tells how the methods are one."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.definitions import derivatives
from refprune.definitions.htp import restricted
from refprune.definitions.obs import outcome, steps
from tests.methods.problems import condition, spd

EPS = 2.0**-52


def drawn(number, seed, d=8):
    """(w, H, the pruned set ascending, rng) of an identity."""
    rng = np.random.default_rng([30, number, seed])
    gone = np.sort(rng.permutation(d)[: rng.integers(0, d + 1)])
    return rng.normal(size=d) + 0.25, spd(rng, d), gone, rng


def joint(w, H, gone):
    """Group OBS of the set `gone`: ``w - C_:P (C_PP)^-1 w_P``, by an inverse as it stands in the papers."""
    C = np.linalg.inv(H)
    v = w - C[:, gone] @ np.linalg.solve(C[np.ix_(gone, gone)], w[gone])
    v[gone] = 0
    return v


def slack(H, *weights):
    """Rounding of a solve with inputs of other units: the condition at unit diagonal, and the spread of the units."""
    units = np.diag(H).max() / np.diag(H).min()
    return 1e3 * EPS * condition(H) * units**0.5 * max(np.abs(w).max(initial=0) for w in weights)


def test_1_least_squares_on_a_support_is_the_projection_of_iobs_is_group_obs():
    """min ||G (v - w)||^2 / N + lam ||v - w||^2 on the support (CHITA without a first-order term)."""
    for seed in range(30):
        rng = np.random.default_rng([30, 1, seed])
        N, d, lam = int(rng.integers(3, 12)), 8, 0.05
        G, w = rng.normal(size=(N, d)), rng.normal(size=d)
        H = G.T @ G / N + lam * np.eye(d)
        for selection in ("topk", "saliency", "obs", "random"):
            answer = rp.iobs(rp.Quadratic(H, w), 3, selection=selection, rng=np.random.default_rng(seed))
            stacked = np.vstack([G / N**0.5, lam**0.5 * np.eye(d)])  # (N + d, d)
            fit = np.zeros(d)
            fit[answer.mask] = np.linalg.lstsq(stacked[:, answer.mask], stacked @ w, rcond=None)[0]
            assert_allclose(answer.weight, fit, rtol=0, atol=slack(H, fit, w))
            group = joint(w, H, np.flatnonzero(~answer.mask))
            assert_allclose(answer.weight, group, rtol=0, atol=slack(H, fit, w))


def test_1_nearly_with_a_linear_term_it_is_group_obs_of_the_newton_point():
    for seed in range(30):
        w, H, gone, rng = drawn(1, seed)
        g = rng.normal(size=8)
        newton = w - np.linalg.solve(H, g)
        best = rp.optimal_weights(rp.Quadratic(H, w, g), ~np.isin(np.arange(8), gone)).weight
        assert_allclose(best, joint(newton, H, gone), rtol=0, atol=slack(H, newton, w))
        if len(gone) < 8:
            assert np.abs(best - joint(w, H, gone)).max() > 1e3 * slack(
                H, newton, w
            )  # w itself is no minimum


def test_1_one_step_of_iobs_without_a_gradient_is_obs_or_one_shot_with_the_joint_update():
    for seed in range(30):
        w, H, gone, _ = drawn(5, seed)
        keep = 8 - len(gone)
        one = rp.iobs(rp.Quadratic(H, w), keep, selection="obs")
        greedy = rp.obs(rp.Quadratic(H, w), rp.Unstructured(keep=keep))
        assert_array_equal(one.order, greedy.order)
        assert_allclose(one.weight, greedy.weight, rtol=0, atol=slack(H, w, greedy.weight))
        at_once = rp.iobs(rp.Quadratic(H, w), keep, selection="saliency")
        least = np.argsort(w**2 / np.diag(np.linalg.inv(H)))[: len(gone)]
        assert_array_equal(np.flatnonzero(~at_once.mask), np.sort(least))
        assert_allclose(at_once.weight, joint(w, H, least), rtol=0, atol=slack(H, w, at_once.weight))


def test_2_removals_until_a_set_is_gone_are_its_group_obs_whatever_the_order():
    for seed in range(50):
        w, H, gone, rng = drawn(2, seed)
        wanted = rng.permutation(gone).tolist()
        ordered = outcome(
            w, steps(w, H, lambda p, done, wanted=wanted: wanted[len(done) : len(done) + 1] == [p])
        )
        assert ordered[1] == wanted
        best = rp.optimal_weights(rp.Quadratic(H, w), ~np.isin(np.arange(8), gone)).weight
        for weights in (joint(w, H, gone), best, outcome(w, steps(w, H, lambda p, _, P=gone: p in P))[0]):
            assert_allclose(ordered[0], weights, rtol=0, atol=slack(H, w, best))


def test_2_nearly_single_updates_that_are_summed_are_not_the_joint_one():
    """Each from the inverse before any removal: they are where H is diagonal."""
    for seed in range(50):
        w, H, gone, _ = drawn(2, seed)
        for diagonal in (False, True):
            H = np.diag(np.diag(H)) if diagonal else H
            C = np.linalg.inv(H)
            summed = w - sum((C[:, p] * w[p] / C[p, p] for p in gone), np.zeros(8))
            summed[gone] = 0
            far = np.abs(summed - joint(w, H, gone)).max() > 1e3 * slack(H, w)
            assert far == (not diagonal and 1 < len(gone) < 8)


def test_3_a_sweep_over_a_prefix_is_obs_in_that_order():
    for seed in range(30):
        w, H, _, rng = drawn(3, seed)
        k = int(rng.integers(0, 9))
        mask = np.arange(8) >= k
        swept = definitions.sparsegpt_weights(w[None], H, mask[None])[0]
        ordered, order = outcome(w, steps(w, H, lambda p, done, k=k: p == len(done) < k))
        assert order == list(range(k))
        best = rp.optimal_weights(rp.Quadratic(H, w), mask).weight
        for weights in (ordered, best):
            assert_allclose(swept, weights, rtol=0, atol=slack(H, w, best))


def test_3_a_step_of_the_sweep_is_the_removal_of_the_first_weight_that_is_left():
    """In the sub-problem G[j:, j:]: kept columns to the left are frozen."""
    frozen = 0
    for seed in range(30):
        w, H, gone, _ = drawn(4, seed)
        mask = ~np.isin(np.arange(8), gone)
        swept = definitions.sparsegpt_weights(w[None], H, mask[None])[0]
        v = w.copy()
        for j in gone:
            v[j:], order = outcome(v[j:], steps(v[j:], H[j:, j:], lambda p, done: p == len(done) == 0))
            assert order == [0]
        assert_allclose(swept, v, rtol=0, atol=slack(H, w, v))
        assert_array_equal(swept[~mask], 0)
        best = rp.optimal_weights(rp.Quadratic(H, w), mask).weight
        frozen += not np.allclose(swept, best)
    assert frozen > 20  # it is another answer than the best weights where kept columns are on the left


def layer_of_a_network(seed):
    """A network, its parameters, samples, and one layer: (key, its weight, its inputs, a mask that keeps most)."""
    rng = np.random.default_rng([30, 5, seed])
    if seed % 2:
        network, shape, key = rp.mlp([4, 6, 3, 2], activation="tanh"), (4,), "2"
    else:
        body = [rp.Conv2d(1, 2, 2), rp.SiLU(), rp.Conv2d(2, 3, 2, padding=1), rp.ReLU(), rp.Flatten()]
        network, shape, key = rp.Network([*body, rp.Dense(27, 2)]), (1, 3, 3), "2"
    params = {name: value + 0.1 * rng.normal(size=value.shape) for name, value in network.init(rng).items()}
    x = rng.normal(size=(60, *shape)) + 0.3
    W = params[f"{key}.weight"]
    return network, params, x, key, W, rng.random(W.shape) < 0.6, rng


def problem_of(network, params, x, W):
    """The layer problem of layer 2, and how many positions of the output share its Gram."""
    inputs = network.activations(params, x)["1"]
    padding = {} if W.ndim == 2 else {"padding": 1}
    return rp.LayerProblem.from_inputs(W, inputs, **padding), 1 if W.ndim == 2 else 9


def test_4_snows_with_horizon_zero_is_the_best_weights():
    """One Newton step without damping, from anywhere on the support."""
    for seed in range(20):
        network, params, x, key, W, mask, rng = layer_of_a_network(seed)
        objective = rp.Reconstruction(network, params, x, key, 0)
        layer, positions = problem_of(network, params, x, W)
        v = rng.normal(size=W.size)
        # sums of 60 samples times 9 positions times a few products: far below 1e5 eps
        assert_allclose(objective.value(v), 2 * positions * layer.value(v), rtol=1e5 * EPS)
        found = restricted(objective, v, mask.ravel())
        best = rp.optimal_weights(layer, mask).weight.ravel()
        assert_allclose(found, best, rtol=0, atol=slack(layer.gram, W, v))


def pruned_prefix(seed):
    """The case above behind a first layer that has lost half of its weights: (params, inputs, targets) more."""
    network, params, x, key, W, mask, rng = layer_of_a_network(2 * seed + 1)
    pruned = params | {"0.weight": params["0.weight"] * (rng.random(params["0.weight"].shape) < 0.5)}
    inputs, dense = (network.activations(p, x)["1"] for p in (pruned, params))
    return network, params, pruned, x, key, W, mask, rng, inputs, dense @ W.T


def test_4_behind_a_pruned_prefix_it_is_the_least_squares_fit_of_the_dense_targets():
    """G_KK v_K = (X^T T / samples)_K for each row, with X the inputs that are there and T what was there."""
    apart = 0
    for seed in range(20):
        network, params, pruned, x, key, W, mask, rng, X, T = pruned_prefix(seed)
        objective = rp.Reconstruction(network, pruned, x, key, 0, dense=params)
        found = restricted(objective, rng.normal(size=W.size), mask.ravel()).reshape(W.shape)
        G, moments = X.T @ X / len(x), X.T @ T / len(x)
        for row, K, right in zip(found, mask, moments.T, strict=True):
            assert_array_equal(row[~K], 0)
            # in the units of the largest part: G and the moments have rounded once more
            assert_allclose(
                row[K], np.linalg.solve(G[np.ix_(K, K)], right[K]), rtol=0, atol=10 * slack(G, W, found)
            )
        blind = rp.optimal_weights(rp.LayerProblem(W, G), mask).weight  # it wants W X, and not T
        apart += objective.value(blind.ravel()) > 1.001 * objective.value(found.ravel())
    assert apart > 15


def test_4_nearly_a_further_horizon_has_another_minimum():
    for seed in range(20):
        network, params, x, key, _, mask, _ = layer_of_a_network(seed)
        here, further = (rp.Reconstruction(network, params, x, key, K) for K in (0, 1))
        best = restricted(here, here.weight, mask.ravel())
        g, start = (further.gradient(v)[mask.ravel()] for v in (best, here.weight * mask.ravel()))
        assert np.linalg.norm(here.gradient(best)[mask.ravel()]) < 1e-9 * np.linalg.norm(start)
        assert np.linalg.norm(g) > 1e-3 * np.linalg.norm(start)


def least_squares(number, seed, d=8):
    """A least-squares problem with noise whose columns have lengths near 1, k, and k nonzero weights."""
    rng = np.random.default_rng([30, number, seed])
    A = rng.normal(size=(14, d)) / 14**0.5
    w, keep = rng.normal(size=d), int(rng.integers(1, d + 1))
    w[np.argsort(np.abs(w))[: d - keep]] = 0
    return rp.LeastSquares(A, A @ rng.normal(size=d) + 0.1 * rng.normal(size=14)), keep, w


def test_5_htp_is_iobs_that_chooses_with_the_identity_for_the_hessian():
    apart = 0
    for seed in range(60):
        problem, keep, w = least_squares(6, seed)
        H = problem.hessian(w)
        newton = w - np.linalg.solve(H, problem.gradient(w))
        for _ in range(3):
            _, chosen = definitions.iobs_step(w, problem.gradient(w), np.eye(8), keep)
            expected = joint(newton, H, np.flatnonzero(~chosen))  # the projection of I-OBS, with H itself
            points = definitions.htp(problem, keep, w, 1, 1)
            if len(points) == 1:
                break
            assert_allclose(points[1], expected, rtol=0, atol=slack(H, newton, w))
            _, with_h = definitions.iobs_step(w, problem.gradient(w), H, keep)
            apart += not np.array_equal(chosen, with_h)
            w = points[1]
    assert apart > 20  # with H in both places it chooses other weights


def test_5_a_step_of_iht_is_iobs_with_the_identity_for_the_hessian_everywhere():
    for seed in range(60):
        problem, keep, w = least_squares(7, seed)
        g = problem.gradient(w)
        found, _ = definitions.iobs_step(w, g, np.eye(8), keep, "topk", "euclid")
        assert_array_equal(definitions.iht_step(w, g, 1, keep), found)
        # H = L I: steps of 1 / L, and still nothing to make up for
        found, _ = definitions.iobs_step(w, g, 4 * np.eye(8), keep)
        assert_array_equal(definitions.iht_step(w, g, 0.25, keep), found)


def units_of_a_layer(seed, least=0, samples=5):
    """(H, W) with row sums of H above 0, and W >= `least`: whole numbers, so that sums are exact."""
    rng = np.random.default_rng([30, 8, seed])
    H = rng.integers(-900 if samples > 1 else 1, 2000, size=(12, samples)).astype(float)
    H[:, 0] += np.maximum(0, 1 - H.sum(axis=1))
    W = rng.integers(least, 9, size=(20, 12)).astype(float)
    W[:12] += 10 * np.eye(12) * (least == 0)  # so that every support has a solution
    return H, W


def merged_by_cosamp(H, W, keep, S):
    """One round of CoSaMP for the signal h in W h, from h on S; the k largest of h itself, not of a solution."""
    h = H.sum(axis=1)
    _, merged = definitions.cosamp_step(rp.LeastSquares(W, W @ h), keep, h * S)
    return definitions.topk_mask(np.where(merged, h, 0), keep)


def test_6_ispasp_is_cosamp_that_keeps_what_it_looks_for():
    for seed in range(40):
        H, W = units_of_a_layer(seed)
        keep, S = 1 + seed % 6, np.zeros(12, dtype=bool)
        for step in rp.ispasp(H, W, keep, stop=False, iterations=6).trace:
            S = merged_by_cosamp(H, W, keep, S)
            assert_array_equal(step.kept, np.flatnonzero(S))


def test_6_nearly_cosamp_takes_the_size_of_what_ispasp_takes_signed():
    """Where weights are negative the residual may ask a unit for less. With one sample, `absolute` is CoSaMP's rule."""
    apart = 0
    for seed in range(90):
        H, W = units_of_a_layer(seed, least=-8, samples=1)
        keep, S = 1 + seed % 6, np.zeros(12, dtype=bool)
        signed = definitions.ispasp(H, W, keep, iterations=1)
        apart += not np.array_equal(signed, np.flatnonzero(merged_by_cosamp(H, W, keep, S)))
        for step in rp.ispasp(H, W, keep, "absolute", stop=False, iterations=6).trace:
            S = merged_by_cosamp(H, W, keep, S)
            assert_array_equal(step.kept, np.flatnonzero(S))
    assert apart > 5


def trained(seed):
    """(layers, params, three batches of different size) of a small network."""
    rng = np.random.default_rng([30, 9, seed])
    network = rp.mlp([3, 4, 2], activation="tanh")
    params = {key: value + 0.1 * rng.normal(size=value.shape) for key, value in network.init(rng).items()}
    batches = [(rng.normal(size=(n, 3)) + 0.2, rng.integers(0, 2, size=n)) for n in (4, 5, 7)]
    return network.to_dicts(), params, batches


def test_7_prospr_without_training_is_snip():
    """Equal bit for bit: J stays the diagonal matrix of w, and only zeros are added."""
    for seed in range(20):
        layers, params, batches = trained(seed)
        snip = definitions.snip_scores(layers, params, *batches[-1], "cross_entropy")
        for few, lr in ((batches[-1:], 0.5), (batches, 0.0)):
            for options in ({}, {"momentum": 0.9}, {"first_order": True}):
                found = definitions.prospr_scores(layers, params, few, "cross_entropy", lr, **options)
                assert list(found) == list(snip) == ["0.weight", "2.weight"]
                for key, score in found.items():
                    assert_array_equal(score, snip[key])
            _, masks = definitions.prospr(layers, params, few, "cross_entropy", 11, lr)
            for key, mask in definitions.snip(layers, params, *batches[-1], "cross_entropy", 11)[1].items():
                assert_array_equal(masks[key], mask)


def test_7_nearly_one_small_step_on_the_same_batch_adds_the_score_of_grasp():
    """|w g - 2 lr w H g| + O(lr^2): with - w H g what GraSP ranks by."""
    for seed in range(20):
        layers, params, batches = trained(seed)
        batch, lr = (*batches[-1], "cross_entropy"), 2.0**-20
        theta = np.concatenate([value.ravel() for value in params.values()])
        g = derivatives.gradient(layers, params, *batch)
        grasp = -theta * derivatives.hvp(layers, params, *batch, g)
        found = definitions.prospr_scores(layers, params, batches[-1:] * 2, "cross_entropy", lr)
        snip = definitions.snip_scores(layers, params, *batch)
        more = np.concatenate([((found[key] - snip[key]) / lr).ravel() for key in found])
        weights = np.r_[0:12, 16:24]  # biases have no switch
        expected = 2 * np.sign(theta * g)[weights] * grasp[weights]
        # the next term is lr times third derivatives; rounding is eps / lr
        assert_allclose(more, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        assert np.abs(expected).max() > 1e-3


def test_force_in_one_step_is_snip():
    for seed in range(20):
        layers, params, batches = trained(seed)
        batch, count = (*batches[-1], "cross_entropy"), 1 + seed % 19
        snip = definitions.snip(layers, params, *batch, count)
        for revive in (True, False):
            force = definitions.force(layers, params, *batch, count, 1, revive)
            for found, expected in zip(force, snip, strict=True):
                for key, array in expected.items():
                    assert_array_equal(found[key], array)


def test_force_nearly_in_two_steps_the_second_sees_another_gradient():
    apart = 0
    for seed in range(20):
        layers, params, batches = trained(seed)
        batch = (*batches[-1], "cross_entropy", 14)
        snip, force = (
            definitions.snip(layers, params, *batch)[1],
            definitions.force(layers, params, *batch, 2)[1],
        )
        apart += any(np.any(snip[key] != force[key]) for key in snip)
    assert apart > 5


def test_the_scores_of_grasp_sum_to_g_H_theta():
    """Over all parameters; only the weights have a score, the biases' share is added here."""
    for seed in range(20):
        layers, params, batches = trained(seed)
        batch = (*batches[-1], "cross_entropy")
        theta = np.concatenate([value.ravel() for value in params.values()])
        g, H = derivatives.gradient(layers, params, *batch), derivatives.hessian(layers, params, *batch)
        scores = definitions.grasp_scores(layers, params, *batch)
        biases = np.r_[12:16, 24:26]
        total = (theta * (H @ g))[biases].sum() - sum(score.sum() for score in scores.values())
        # H has 26 rows; its entries are means of a few products of numbers of size 1
        bound = 1e3 * EPS * np.linalg.norm(H, 2) * np.linalg.norm(g) * np.linalg.norm(theta)
        assert abs(total - g @ derivatives.hvp(layers, params, *batch, theta)) <= bound


def test_every_layer_of_a_chain_carries_the_same_synaptic_flow():
    for seed in range(20):
        layers, params, _ = trained(seed)
        first, last = definitions.synflow_scores(layers, params, (3,)).values()
        R = (abs(params["2.weight"]) @ abs(params["0.weight"])).sum()
        assert_allclose([first.sum(), last.sum()], R, rtol=100 * EPS)
        assert_allclose(first.sum(axis=1), last.sum(axis=0), rtol=100 * EPS)  # into and out of a unit


def test_synaptic_flow_nearly_a_residual_branch_carries_its_own_share():
    for seed in range(20):
        rng = np.random.default_rng([30, 11, seed])
        network = rp.Network([rp.Dense(3, 4), rp.Residual([rp.Dense(4, 4), rp.ReLU()]), rp.Dense(4, 2)])
        params = {key: rng.normal(size=shape) for key, shape in network.shapes.items()}
        first, branch, last = definitions.synflow_scores(network.to_dicts(), params, (3,)).values()
        around = (abs(params["2.weight"]) @ abs(params["0.weight"])).sum()  # past the branch
        assert_allclose([first.sum(), last.sum()], around + branch.sum(), rtol=100 * EPS)


def both_sides(activation, seed, against):
    """The scores of SOSP-H of a random perceptron's units, (2, units): as rows, and as columns."""
    rng = np.random.default_rng([30, 12, seed])
    network = rp.mlp([4, *rng.integers(2, 7, size=2).tolist(), 3], activation=activation)
    params = {key: value + 0.2 * rng.normal(size=value.shape) for key, value in network.init(rng).items()}
    x, y = rng.normal(size=(6, 4)), rng.integers(0, 3, size=6)
    found = [
        rp.sosp(network, params, x, y, rp.Groups(sparsity=0, axis=axis), against=against).scores
        for axis in (0, 1)
    ]
    return np.array([np.concatenate(list(scores.values())) for scores in found])


def test_with_relu_sosp_scores_a_unit_alike_from_both_sides():
    for seed in range(20):
        for against in ("groups", "all"):
            rows, columns = both_sides("relu", seed, against)
            # sums of some tens of products, with third factors of size 1: 1e3 eps of the largest
            assert_allclose(rows, columns, rtol=0, atol=1e3 * EPS * rows.max())


def test_sosp_nearly_with_tanh_the_sides_differ():
    for seed in range(20):
        rows, columns = both_sides("tanh", seed, "groups")
        assert np.abs(rows - columns).max() > 1e-3 * rows.max()


def test_where_the_hessian_is_the_identity_all_are_magnitude():
    for seed in range(20):
        rng = np.random.default_rng([30, 10, seed])
        w, keep, eye = rng.normal(size=8), int(rng.integers(0, 9)), np.eye(8)
        quadratic, layer, few = (
            rp.Quadratic(eye, w),
            rp.LayerProblem(w[None], eye),
            rp.Unstructured(keep=keep),
        )
        expected = rp.magnitude(w, few).weight
        found = {
            "OBD": rp.obd(quadratic, few),
            "OBS": rp.obs(quadratic, few),
            "Wanda": rp.wanda(layer, few),
            "SparseGPT": rp.sparsegpt(layer, few),
            "IHT": rp.iht(rp.LeastSquares(eye, w), keep, step=1.0),
            "HTP": rp.htp(rp.LeastSquares(eye, w), keep, step=1.0),
            "CoSaMP": rp.cosamp(rp.LeastSquares(eye, w), keep),
            "I-OBS": rp.iobs(rp.LeastSquares(eye, w), keep),
            "I-OBS, saliency": rp.iobs(quadratic, keep, selection="saliency"),
            "I-OBS, exact": rp.iobs(quadratic, keep, selection="exact", project="euclid"),
        }
        for name, answer in found.items():
            assert_allclose(
                answer.weight.ravel(), expected, rtol=0, atol=8 * EPS * np.abs(w).max(), err_msg=name
            )


def test_where_the_hessian_is_the_identity_alps_is_no_magnitude():
    """With a small rho the multipliers bring back what was pruned: soon it ranks with nearly twice its size."""
    rng, worse = np.random.default_rng(30), 0
    for _ in range(20):
        layer, few = rp.LayerProblem(rng.normal(size=(1, 8)), np.eye(8)), rp.Unstructured(keep=3)
        best, found = rp.magnitude(layer, few).objective, rp.alps(layer, few).objective
        assert found >= best * (1 - 8 * EPS)
        worse += found > 1.001 * best
    assert worse > 0
