"""The demo: its data, its trainer, its numbers, its pictures, its verdicts."""

import ast
import inspect
import itertools

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the demo reads the digits of scikit-learn")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

import refprune as rp
from refprune.demo import compress, digits, mlp, pictures, show
from refprune.demo.kernels import right, stale, zeros


@pytest.fixture(scope="module")
def data():
    return digits.load()


@pytest.fixture(scope="module")
def trained(data):
    """The network and its parameters."""
    return mlp.train(data.train_x, data.train_y)


@pytest.fixture(scope="module")
def results(trained, data):
    return compress.measure_all(*trained, data)


def test_no_digit_is_in_both_parts(data):
    from sklearn.datasets import load_digits

    rows = np.concatenate([data.train_x, data.test_x])
    whole = load_digits().data / 16.0
    order, expected = np.lexsort(rows.T), np.lexsort(whole.T)
    assert np.array_equal(rows[order], whole[expected])  # a rearrangement of the whole, nothing twice
    assert len(data.test_y) == 500


def test_training_is_deterministic_and_learns(trained, data):
    network, params = trained
    _, again = mlp.train(data.train_x, data.train_y)
    assert all(np.array_equal(params[name], again[name]) for name in network.shapes)
    untrained = network.init(np.random.default_rng(0))
    assert rp.accuracy(network, untrained, data.test_x, data.test_y) < 0.3
    assert rp.accuracy(network, params, data.test_x, data.test_y) > 0.97


def test_every_pattern_and_method_is_measured(results):
    pairs = [(result.pattern, result.method) for result in results]
    assert len(pairs) == len(set(pairs)) == 3 * 6 + 2 * 5


def test_masks_have_the_counts_that_were_asked_for(results, trained):
    network, _ = trained
    for result in results:
        for mask, name in zip(result.masks, network.prunable):
            assert mask.shape == network.shapes[name]
            if ":" in result.pattern:
                n, m = map(int, result.pattern.split(":"))
                assert (mask.reshape(len(mask), -1, m).sum(axis=-1) == n).all()
            else:
                share = float(result.pattern.removesuffix("%")) / 100
                pruned = (~mask).sum()
                # the count is rounded in every row or once for the layer: half a weight each time
                slack = 0.5 * len(mask) if result.method in ("Wanda", "OBS in each row") else 0.5
                assert abs(pruned - share * mask.size) <= slack + 1e-9


def test_obs_pays_least(results):
    for pattern in compress.PATTERNS:
        objective = {r.method: r.objective for r in results if r.pattern == pattern}
        assert objective["OBS in each row"] < objective["Wanda"]
        assert objective["OBS in each row"] < objective["magnitude"]
        if "%" in pattern:
            assert objective["OBS over the layer"] < objective["magnitude"]


def test_each_layer_is_calibrated_on_what_the_pruned_layers_hand_it(trained, data):
    network, params = trained
    pruned, _ = compress.prune_network(network, params, data, "OBS over the layer", "90 %")
    objectives = compress.shares(network, params, pruned, data.train_x)
    inputs = data.train_x
    for key, objective in zip("024", objectives):
        weight, answer = params[f"{key}.weight"], pruned[f"{key}.weight"]
        expected = np.sum(((answer - weight) @ inputs.T) ** 2) / np.sum((weight @ inputs.T) ** 2)
        # two ways to sum about 1e5 squares: their difference is far below n eps = 1e-11 of the sum
        assert objective == pytest.approx(expected, rel=1e-10)
        problem = rp.LayerProblem.from_inputs(weight, inputs)
        alone = rp.obs(problem, rp.Unstructured(0.9), damp=compress.DAMP)
        assert problem.objective(answer) == pytest.approx(alone.objective, rel=1e-8)
        inputs = np.maximum(inputs @ answer.T + params[f"{key}.bias"], 0.0)
    assert all(np.array_equal(pruned[f"{key}.bias"], params[f"{key}.bias"]) for key in "024")


def test_snows_keeps_the_masks_of_obs_and_comes_nearer_to_the_dense_outputs(results, trained, data):
    network, params = trained
    by = {(r.pattern, r.method): r.masks for r in results}
    for pattern in compress.PATTERNS:
        obs = "OBS over the layer" if "%" in pattern else "OBS in each row"
        pairs = zip(by[pattern, obs], by[pattern, "SNOWS, masks by OBS"], strict=True)
        assert all(np.array_equal(*pair) for pair in pairs)
    dense = network.forward(params, data.test_x)
    errors = {}
    for method in ("OBS over the layer", "SNOWS, masks by OBS"):
        pruned, masks = compress.prune_network(network, params, data, method, "90 %")
        names = zip(network.prunable, masks, strict=True)
        assert not any(pruned[name][~mask].any() for name, mask in names)
        errors[method] = np.sum((network.forward(pruned, data.test_x) - dense) ** 2)
    assert errors["SNOWS, masks by OBS"] < 0.8 * errors["OBS over the layer"]


def test_woodfisher_reads_more_than_magnitude_at_high_sparsity(results):
    for pattern in ("90 %", "1:4"):
        accuracy = {r.method: r.accuracy for r in results if r.pattern == pattern}
        assert accuracy["WoodFisher in stages"] > accuracy["magnitude"] + 0.02


def test_woodfisher_sees_the_labels_and_the_images_of_training_alone(trained, data, monkeypatch):
    monkeypatch.setattr(compress, "STAGES", 2)
    monkeypatch.setattr(compress, "GRADIENTS", 60)
    network, params = trained
    known = compress.prune_network(network, params, data, "WoodFisher in stages", "90 %")
    others = data._replace(test_x=0 * data.test_x, test_y=0 * data.test_y)
    same = compress.prune_network(network, params, others, "WoodFisher in stages", "90 %")
    assert all(np.array_equal(known[0][name], same[0][name]) for name in known[0])
    turned = data._replace(train_y=(data.train_y + 1) % 10)
    other = compress.prune_network(network, params, turned, "WoodFisher in stages", "90 %")
    assert not all(np.array_equal(*pair) for pair in zip(known[1], other[1], strict=True))


def test_pictures_are_drawn_without_a_display(results, tmp_path):
    for path in pictures.save(results, 0.99, tmp_path / "new" / "folder"):
        assert path.read_bytes().startswith(b"\x89PNG")
    curves = pictures.accuracy_picture(results, 0.99).axes[0]
    assert [text.get_text() for text in curves.get_legend().get_texts()] == ["not pruned", *compress.METHODS]
    shown = [axes.get_title().split("\n")[0] for axes in pictures.mask_picture(results).axes[:5]]
    assert shown == list(compress.METHODS[:-1])  # SNOWS has the masks of OBS


def test_bars_of_two_methods_never_overlap(results):
    bars = pictures.accuracy_picture(results, 0.99).axes[1].patches
    edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars)
    assert len(edges) == 2 * 5
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(edges))


@pytest.mark.parametrize("kernel", [right, stale, zeros])
def test_kernels_use_nothing_of_refprune(kernel):
    tree = ast.parse(inspect.getsource(kernel))
    names = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert names <= {"numpy", "fractions"}


def test_the_right_kernel_agrees_with_the_method():
    rng = np.random.default_rng(3)
    weight, inputs = rng.normal(size=(5, 9)), rng.normal(size=(40, 9)) + 0.5
    layer = rp.LayerProblem.from_inputs(weight, inputs)
    ours, mask = right.prune(weight, layer.gram, 0.6)
    theirs = rp.obs(layer, rp.Unstructured(0.6))
    assert np.array_equal(mask, theirs.mask)
    # 27 downdates of a well-conditioned inverse (cond below 100): eps * cond * a small constant
    assert np.allclose(ours, theirs.weight, rtol=0, atol=1e-12)


def test_two_of_four_cannot_show_what_n_means():
    weight = np.array([[1.0, 2.0, 3.0, 4.0]])
    assert zeros.prune(weight, 2, 4)[1].tolist() == rp.magnitude(weight, rp.NM(2, 4)).mask.tolist()
    assert zeros.prune(weight, 1, 4)[1].tolist() != rp.magnitude(weight, rp.NM(1, 4)).mask.tolist()


def test_demo_ends_well(tmp_path, capsys):
    assert show.main(out=str(tmp_path), quick=True) == 0
    text = capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"accuracy.png", "masks.png"}
    for name in (*compress.METHODS, *compress.PATTERNS):
        assert name in text
    assert "3 of 3 verdicts as they should be" in text
    assert "stale" in text
