"""`rp.prune` on convolutions of every geometry: what the report says is what the outputs of each layer lose."""

from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from tests.methods.checks import EPS
from tests.methods.convolutions import Convolution, loss_of_outputs

LAYERS = [
    rp.Conv2d(2, 4, (2, 3), padding=(1, 2)),
    rp.Tanh(),
    rp.Conv2d(4, 8, 3, stride=(2, 1), padding=1, groups=2),
    rp.Tanh(),
    rp.Conv2d(8, 8, (2, 1), dilation=(2, 1), groups=8),
    rp.Sigmoid(),
    rp.Conv2d(8, 16, 2, groups=8, bias=False),
    rp.Conv2d(16, 3, 1),
    rp.Flatten(),
]
# a filter that loses all its weights gives a constant, whose patches have rank 1: hence the damping
METHODS = {name: name for name in ("magnitude", "wanda", "obd", "sparsegpt")} | {
    "obs": partial(rp.obs, damp=0.001),
    "alps": partial(rp.alps, damp=0.001),
}
PATTERNS = {
    "unstructured": rp.Unstructured(sparsity=0.5, scope="layer"),
    "rows": rp.Unstructured(sparsity=0.5, scope="row"),
    "1:2": rp.NM(1, 2, remainder="dense"),
    "filters": rp.Groups(sparsity=0.25),
}


def problem():
    """(network, params, images), away from zero."""
    rng = np.random.default_rng(80)
    network = rp.Network(LAYERS)
    params = {name: value + 0.1 for name, value in network.init(rng).items()}
    return network, params, rng.normal(size=(25, 2, 9, 6)) + 0.5


def up_to(key, params, x):
    """The activations in front of layer `key`."""
    own = {name: value for name, value in params.items() if int(name.split(".")[0]) < key}
    return rp.Network(LAYERS[:key]).forward(own, x) if key else x


CASES = [
    pytest.param(METHODS[name], pattern, calibration, id=f"{name}-{rule}-{calibration}")
    for name in METHODS
    for rule, pattern in PATTERNS.items()
    for calibration in (("pruned", "dense") if name == "obs" else ("pruned",))
    if (name, rule) != ("sparsegpt", "filters")  # it prunes single weights and N:M
]


@pytest.mark.parametrize(("method", "pattern", "calibration"), CASES)
def test_the_report_is_the_change_of_the_outputs(method, pattern, calibration):
    network, params, x = problem()
    answer = rp.prune(network, params, x, method, pattern, calibration=calibration, progress=False)
    before = answer.params if calibration == "pruned" else params
    assert [row.layer for row in answer.report.layers] == ["0", "2", "4", "6", "7"]
    for row in answer.report.layers:
        key, name, layer = int(row.layer), f"{row.layer}.weight", LAYERS[int(row.layer)]
        images = up_to(key, before, x)
        options = {field: getattr(layer, field) for field in ("stride", "padding", "dilation", "groups")}
        conv = Convolution(options=options)
        assert pattern.admits(answer.masks[name])
        assert np.all(answer.params[name][~answer.masks[name]] == 0)
        loss, scale = loss_of_outputs(conv, params[name], images, answer.params[name])
        whole, _ = loss_of_outputs(conv, params[name], images, 0 * params[name])
        # at most 25 * 8 * 8 positions and 18 columns in a sum, and as many in the layers before
        assert abs(row.objective - loss) <= 1e4 * EPS * scale
        assert row.error == pytest.approx(np.sqrt(loss / whole), rel=1e-6, abs=1e-7)


def test_overrides_by_labels_know_the_channels_of_a_grouped_convolution():
    """A vector of labels has one for each input channel of the layer, not of the weight."""
    network, params, x = problem()
    pairs = rp.Groups(keep=1, axis=1, labels=np.array([0, 1, 1, 0]))  # one channel of each group
    answer = rp.prune(network, params, x, "obs", PATTERNS["rows"], overrides={"2": pairs}, progress=False)
    kept = answer.masks["2.weight"].all(axis=(2, 3)).reshape(2, 4, 2)  # (group, filter, channel)
    assert_array_equal(kept, answer.masks["2.weight"].any(axis=(2, 3)).reshape(2, 4, 2))
    assert (kept == kept[:, :1]).all()
    assert kept[0, 0].tolist() == kept[1, 0, ::-1].tolist()
    assert kept.sum() == 8
    short = rp.Groups(keep=1, axis=1, labels=np.array([0, 1]))
    needs = r"layer 2: need labels of shape \(8, 2, 3, 3\) or \(4,\); got \(2,\)"
    with pytest.raises(ValueError, match=needs):
        rp.prune(network, params, x, "obs", PATTERNS["rows"], overrides={"2": short}, progress=False)


def test_a_network_of_groups_is_networks_side_by_side():
    """Two branches that never meet, as grouped convolutions and alone."""
    rng = np.random.default_rng(81)
    together = rp.Network([rp.Conv2d(4, 6, 2, groups=2), rp.Tanh(), rp.Conv2d(6, 4, (1, 2), groups=2)])
    alone = rp.Network([rp.Conv2d(2, 3, 2), rp.Tanh(), rp.Conv2d(3, 2, (1, 2))])
    params = {name: value + 0.1 for name, value in together.init(rng).items()}
    x = rng.normal(size=(30, 4, 5, 6)) + 0.5
    answer = rp.prune(together, params, x, "obs", PATTERNS["rows"], progress=False)
    for g in range(2):
        part = {name: np.split(value, 2)[g] for name, value in params.items()}
        own = rp.prune(alone, part, x[:, 2 * g : 2 * g + 2], "obs", PATTERNS["rows"], progress=False)
        for name, mask in own.masks.items():
            assert_array_equal(np.split(answer.masks[name], 2)[g], mask)
            # Grams of well-conditioned activations: solves err by a small multiple of eps
            assert_allclose(np.split(answer.params[name], 2)[g], own.params[name], rtol=0, atol=1e-11)
