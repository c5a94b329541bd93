"""SNOWS written plainly, over the outputs of all layers and by autograd, with switches for mistakes; and a judge."""

import numpy as np

import refprune as rp
from refprune import definitions
from refprune.definitions import by_autograd

NETWORK = rp.Network([rp.Dense(4, 4), rp.Softplus(), rp.Dense(4, 3), rp.Tanh(), rp.Dense(3, 2)])
OPERATIONS = ["0", "1", "2", "3", "4"]


def problem(seed=0, network=NETWORK, shape=(4,), samples=30):
    """(params, masks, inputs): half of the weights go, by magnitude; no neutral parameters."""
    rng = np.random.default_rng([64, seed])
    params = {name: value + 0.2 for name, value in network.init(rng).items()}
    masks = {name: np.abs(params[name]) > np.median(np.abs(params[name])) for name in network.prunable}
    x = rng.normal(size=(samples, *shape)) + 0.3
    return params, masks, x


def cut(params, masks):
    return params | {name: np.where(mask, params[name], 0) for name, mask in masks.items()}


class F:
    """The objective of one layer: its outputs `keys` for `given`, against those of `dense`."""

    def __init__(self, network, given, dense, x, name, keys):
        targets = network.activations(dense, x)

        def value(w):
            outputs = network.activations(given | {name: w.reshape(network.shapes[name])}, x)
            return sum(((outputs[key] - targets[key]) ** 2).sum() for key in keys) / len(x)

        self.value = value

    def gradient(self, w):
        return by_autograd.gradient(self.value, w)

    def hessian(self, w):
        return by_autograd.hessian(self.value, w)


def by_hand(
    params, masks, x, horizon, *, target_inputs="dense", tail="pruned", off=0, inputs="pruned", damp=0.0,
    steps=25, revive=False, blind=False,
):  # fmt: skip
    """The layers of `NETWORK` in order, by the definition of Newton-CG; (params, objectives)."""
    network, start = NETWORK, cut(params, masks)
    now, found = dict(start), []
    for name in network.prunable:
        place = int(name[0])
        behind = params if tail == "dense" else start
        prefix = now if inputs == "pruned" else params
        given = {key: (prefix if int(key[0]) < place else behind)[key] for key in params}
        dense = {
            key: (prefix if int(key[0]) < place and target_inputs == "pruned" else params)[key]
            for key in params
        }
        dense = start if blind else dense
        ahead = horizon if not horizon else horizon + off
        f = F(network, given, dense, x, name, OPERATIONS[place:][: None if ahead is None else 1 + ahead])
        mask = masks[name].ravel() | revive
        w = definitions.newton_cg(f, mask, start[name].ravel(), steps, damp)[-1]
        now[name] = w.reshape(start[name].shape)
        found.append(f)
    return now, found


def judge(method):
    """Hold `method(params, masks, x, horizon, target_inputs=, tail=) -> params` to what SNOWS promises."""
    params, masks, x = problem()
    start = cut(params, masks)
    answer = method(params, masks, x, 0)
    for name, mask in masks.items():
        assert np.all(answer[name][~mask] == 0), "a pruned weight came back"
        assert np.abs(answer[name] - start[name]).max() > 1e-3, "the start is its own target"
    _least_squares(method, params, masks, x)
    stationary(
        method,
        params,
        masks,
        x,
        1,
        "does not look just K operations ahead",
        target_inputs="pruned",
        tail="dense",
    )
    stationary(method, params, masks, x, None, "goes through another tail than asked for")


def _least_squares(method, params, masks, x):
    """K = 0, in closed form."""
    dense = NETWORK.activations(params, x)
    for target_inputs, message in (
        ("pruned", "not the best weights for the inputs that reach the layer"),
        ("dense", "not the fit of the dense targets"),
    ):
        answer = method(params, masks, x, 0, target_inputs=target_inputs)
        reached = NETWORK.activations(answer, x)
        for place in (2, 4):
            u, name = reached[str(place - 1)], f"{place}.weight"
            t = dense[str(place - 1)] if target_inputs == "dense" else u
            for v, w, mask in zip(answer[name], params[name], masks[name], strict=True):
                best = np.linalg.lstsq(u[:, mask], t @ w, rcond=None)[0]
                # Newton steps end at a gradient of 1e-9 of the first one, at a condition of about 100
                assert np.abs(v[mask] - best).max(initial=0) <= 1e-5 * np.abs(w).max(), message


def stationary(method, params, masks, x, horizon, message, **sides):
    """The gradient of each layer's F on the kept weights, from the answer alone, against that at the start."""
    answer, start = method(params, masks, x, horizon, **sides), cut(params, masks)
    for name in NETWORK.prunable:
        place = int(name[0])
        ahead = params if sides.get("tail") == "dense" else start
        given = {key: (answer if int(key[0]) < place else ahead)[key] for key in params}
        before = answer if sides.get("target_inputs") == "pruned" else params
        dense = {key: (before if int(key[0]) < place else params)[key] for key in params}
        keys = OPERATIONS[place:][: None if horizon is None else 1 + horizon]
        f, mask = F(NETWORK, given, dense, x, name, keys), masks[name].ravel()
        slopes = [np.linalg.norm(f.gradient(p[name].ravel())[mask]) for p in (answer, start)]
        assert slopes[0] <= 1e-5 * slopes[1], message
        assert f.value(answer[name].ravel()) <= f.value(start[name].ravel()), "F of a layer rose"
