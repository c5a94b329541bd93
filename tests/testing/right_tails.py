"""Right readjustments of a layer's kept weights that share nothing with `refprune`.

By autograd with the method of Broyden, Fletcher, Goldfarb and Shanno, and by PyTorch with that of Levenberg and
Marquardt. The forward passes are those of `right_networks`.
"""

import numpy as np
from right_networks import Autograd, Torch, own_of

OPERATIONS = ("dense", "conv2d", "relu", "tanh", "sigmoid", "gelu", "silu", "softplus")


class Tails:
    """The contract `newton-cg`; `package` and `last` are those of `right_kernels.Kernels`."""

    def newton_cg(self, layers, params, x, layer, mask, horizon):
        """The kept weights with which the outputs ahead are nearest to the dense ones."""
        if not 0 <= layer < len(layers) or layers[layer]["type"] not in ("dense", "conv2d") or horizon < 0:
            raise ValueError(f"need a layer with a weight, and a horizon; got {layer} and {horizon}")
        if self.package == "torch":
            return _by_torch(Torch(), layers, params, x, layer, mask, horizon)
        if not all(np.isfinite(array).all() for array in (x, *params.values())):
            raise ValueError("need finite numbers")
        x = x[::-1] if self.last else x
        return _by_autograd(Autograd(self.last), layers, params, x, layer, mask, horizon)


def ahead(step, layers, params, x, layer, horizon):
    """The outputs of the layer and of the operations after it."""
    found = []

    def go(layers, prefix, x, active):
        for i, one in enumerate(layers):
            active = active or (not prefix and i == layer)
            if one["type"] == "residual":
                body = go(one["body"], f"{prefix}{i}.body.", x, active)
                x = body + go(one.get("shortcut", []), f"{prefix}{i}.shortcut.", x, active)
            else:
                x = step(one, x, own_of(params, f"{prefix}{i}"))
            if active and one["type"] in OPERATIONS:
                found.append(x.reshape(x.shape[0], -1))
        return x

    go(layers, "", x, False)
    return found[: horizon + 1]


def _by_autograd(engine, layers, params, x, layer, mask, horizon):
    xp, name, kept = engine.np, f"{layer}.weight", np.flatnonzero(mask)
    place = np.eye(mask.size, dtype=x.dtype)[kept]

    def outputs(weight):
        given = {**params, name: weight}
        return xp.concatenate(
            ahead(lambda one, x, own: getattr(engine, one["type"])(one, x, **own), layers, given, x, layer, horizon),
            axis=1,
        )  # fmt: skip

    targets = outputs(params[name])
    both = engine.autograd.value_and_grad(
        lambda v: xp.sum((outputs(xp.reshape(xp.dot(v, place), mask.shape)) - targets) ** 2) / len(x)
    )
    return (bfgs(both, params[name][mask]) @ place).reshape(mask.shape).astype(x.dtype)


def bfgs(both, v):
    """From v; it begins anew where a search fails, and ends where the next one fails too, or the value stays."""
    if not v.size:
        return v
    least = 8 * np.finfo(v.dtype).eps
    value, g = both(v)
    goal, H = 1e-6 * np.linalg.norm(g), None
    for _ in range(500):
        if np.linalg.norm(g) <= goal:
            break
        s = -g / max(np.linalg.norm(g), 1) if H is None else -H @ g
        moved = searched(both, v, s, value, g)
        if moved is None:
            if H is None:
                break
            H = None
            continue
        before, (new, value, after) = value, moved
        if before - value <= least * value:
            return new
        step, change = (new - v).astype(float), (after - g).astype(float)
        H = np.eye(v.size) * (step @ change) / (change @ change) if H is None and step @ change > 0 else H
        if H is not None and step @ change > 1e-10 * np.linalg.norm(step) * np.linalg.norm(change):
            left = np.eye(v.size) - np.outer(step, change) / (step @ change)
            H = left @ H @ left.T + np.outer(step, step) / (step @ change)
        v, g = new, after
    return v


def searched(both, v, s, value, g):
    """(point, value, gradient) with a lower value; None where there is none."""
    t = 1.0
    for _ in range(40):
        new = (v + t * s).astype(v.dtype)
        found, slope = both(new)
        if found < value + 1e-4 * t * float(g @ s):
            return new, found, slope
        t /= 2
    return None


def _by_torch(engine, layers, params, x, layer, mask, horizon):
    torch, name = engine.torch, f"{layer}.weight"
    bad = [array for array in (x, *params.values()) if not torch.isfinite(array).all()]
    if bad or mask.shape != params[name].shape:
        raise ValueError("need finite numbers and a mask like the weight")
    kept = mask.flatten()
    if not kept.any():
        return params[name] * mask
    place = torch.eye(len(kept), dtype=x.dtype)[kept]

    def outputs(weight):
        return torch.cat(ahead(engine.step, layers, {**params, name: weight}, x, layer, horizon), 1).flatten()

    targets = outputs(params[name])
    v = marquardt(torch, lambda v: outputs((v @ place).reshape(mask.shape)) - targets, params[name][mask])
    return (v @ place).reshape(mask.shape)


def marquardt(torch, residual, v):
    """From v, until the gradient is small or no damping helps."""
    r, slope, damp = residual(v), torch.func.jacrev(residual), 1e-4
    J = slope(v)
    goal = 1e-6 * (J.T @ r).norm()
    for _ in range(200):
        g, A = J.T @ r, J.T @ J
        if g.norm() <= goal or damp > 1e12:
            break
        ridge = damp * A.diagonal().mean() * torch.eye(len(v), dtype=A.dtype)
        step = torch.linalg.lstsq(A + ridge, -g[:, None]).solution[:, 0]
        new = residual(v + step)
        if new @ new < r @ r:
            v, r, damp = v + step, new, damp / 10
            J = slope(v)
        else:
            damp = max(damp, 1e-6) * 10
    return v
