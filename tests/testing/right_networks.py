"""Right derivatives of networks that share nothing with `refprune`: by autograd on NumPy arrays, and by PyTorch.

Both write the forward pass anew and leave the differentiation to the package.
"""

import importlib

import numpy as np


def sides(value):
    """(height, width) of a number or a pair."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


class Networks:
    """The contracts of network derivatives; `package` and `last` are those of `right_kernels.Kernels`.

    With `last` the slope of a ReLU at 0 is 1, samples are taken backwards.
    """

    def hvp(self, layers, params, x, y, loss, v):
        """The gradient of the gradient's product with v."""
        return _by(self).hvp(layers, params, x, y, loss, v)

    def hessian(self, layers, params, x, y, loss):
        """The Jacobian of the gradient."""
        return _by(self).hessian(layers, params, x, y, loss)

    def gauss_newton(self, layers, params, x, y, loss):
        """`J^T S J` of every sample, in the mean."""
        return _by(self).gauss_newton(layers, params, x, y, loss)

    def per_sample_gradients(self, layers, params, x, y, loss):
        """One gradient for each sample."""
        return _by(self).per_sample_gradients(layers, params, x, y, loss)


def _by(kernels):
    return Torch() if kernels.package == "torch" else Autograd(kernels.last)


def trainable(params):
    """The names of what is differentiated, in order."""
    return [name for name in params if "running" not in name]


def unflattened(params, w):
    """`params` with the flat vector w in them."""
    out, at = dict(params), 0
    for name in trainable(params):
        size = int(np.prod(params[name].shape))
        out[name] = w[at : at + size].reshape(params[name].shape)
        at += size
    return out


def own_of(params, prefix):
    """The arrays of one layer by their last names."""
    return {name.rpartition(".")[2]: a for name, a in params.items() if name.rpartition(".")[0] == prefix}


class Autograd:
    """By the package autograd."""

    def __init__(self, last=False):
        self.autograd, self.np = (
            importlib.import_module("autograd"),
            importlib.import_module("autograd.numpy"),
        )
        self.erf, self.last = importlib.import_module("autograd.scipy.special").erf, last

    def hvp(self, layers, params, x, y, loss, v):
        """Backward over backward."""
        mean = self._mean(layers, params, x, y, loss)
        slope = self.autograd.grad(mean)
        return self.autograd.grad(lambda w: self.np.dot(slope(w), v))(self._flat(params))

    def hessian(self, layers, params, x, y, loss):
        """Backward over backward, row by row."""
        return self.autograd.hessian(self._mean(layers, params, x, y, loss))(self._flat(params))

    def gauss_newton(self, layers, params, x, y, loss):
        """The outputs' Jacobian row by row, the loss's curvature by autograd."""

        def outputs(w):
            return self.forward(layers, unflattened(params, w), x)

        w, total = self._flat(params), 0.0
        f, J = outputs(w), self.autograd.jacobian(outputs)(w)
        for n in range(len(x)):
            S = self.autograd.hessian(lambda t, n=n: self.losses(t[None], y[n : n + 1], loss)[0])(f[n])
            total = total + J[n].T @ S @ J[n]
        return total / len(x)

    def per_sample_gradients(self, layers, params, x, y, loss):
        """The Jacobian of the losses."""
        return self.autograd.jacobian(self.samples(layers, params, x, y, loss))(self._flat(params))

    def samples(self, layers, params, x, y, loss):
        """The losses of the samples, as a function of the flat parameters."""
        return lambda w: self.losses(self.forward(layers, unflattened(params, w), x), y, loss)

    def _mean(self, layers, params, x, y, loss):
        x, y = (x[::-1], y[::-1]) if self.last else (x, y)
        each = self.samples(layers, params, x, y, loss)
        return lambda w: self.np.mean(each(w))

    def _flat(self, params):
        return np.concatenate([params[name].ravel() for name in trainable(params)])

    def losses(self, f, y, loss):
        """Of each sample."""
        if loss == "squared":
            return self.np.sum((f - y) ** 2, axis=1) / 2
        top = self.np.max(f, axis=1)
        return top + self.np.log(self.np.sum(self.np.exp(f - top[:, None]), axis=1)) - f[np.arange(len(y)), y]

    def forward(self, layers, params, x, prefix=""):
        """The outputs."""
        for i, layer in enumerate(layers):
            if layer["type"] == "residual":
                body = self.forward(layer["body"], params, x, f"{prefix}{i}.body.")
                x = body + self.forward(layer.get("shortcut", []), params, x, f"{prefix}{i}.shortcut.")
            else:
                x = getattr(self, layer["type"])(layer, x, **own_of(params, f"{prefix}{i}"))
        return x

    def relu(self, layer, z):
        """`max(z, 0)`."""
        return self.np.where(z >= 0 if self.last else z > 0, z, 0.0 * z)

    def relu6(self, layer, z):
        """`min(max(z, 0), 6)`."""
        return self.np.clip(z, 0.0, 6.0)

    def _fading(self, z, rate=1):
        """(whether z >= 0, `exp(-rate |z|)`), with a slope at 0 that belongs to the first."""
        up = z >= 0
        return up, self.np.exp(-rate * self.np.where(up, z, -z))

    def tanh(self, layer, z):
        """`(1 - e) / (1 + e)` with `e = exp(-2 |z|)`, and the sign of z: autograd's own overflows twice derived."""
        up, e = self._fading(z, 2)
        half = -self.np.expm1(-2 * self.np.where(up, z, -z)) / (1 + e)
        return self.np.where(up, half, -half)

    def sigmoid(self, layer, z):
        """`1 / (1 + exp(-z))`."""
        up, e = self._fading(z)
        return self.np.where(up, 1 / (1 + e), e / (1 + e))

    def gelu(self, layer, z):
        """`z P(z)`."""
        return z * (1 + self.erf(z / 2**0.5)) / 2

    def silu(self, layer, z):
        """`z / (1 + exp(-z))`."""
        return z * self.sigmoid(layer, z)

    def softplus(self, layer, z):
        """`log(1 + exp z)`."""
        up, e = self._fading(z)
        return self.np.where(up, z, 0.0 * z) + self.np.log1p(e)

    def flatten(self, layer, x):
        """One axis for each sample."""
        return self.np.reshape(x, (x.shape[0], -1))

    def globalavgpool(self, layer, x):
        """The mean of an image."""
        return self.np.mean(x, axis=(2, 3), keepdims=True)

    def dense(self, layer, x, weight, bias=0.0):
        """`x W^T + b`."""
        return self.np.dot(x, weight.T) + bias

    def batchnorm2d(self, layer, x, weight, bias, running_mean, running_var):
        """Four vectors, one entry for each channel."""
        parts = (running_mean, np.sqrt(running_var + layer.get("eps", 1e-5)), weight, bias)
        mean, root, weight, bias = (self.np.reshape(part, (1, -1, 1, 1)) for part in parts)
        return (x - mean) / root * weight + bias

    def conv2d(self, layer, x, weight, bias=None):
        """Kernel position by kernel position and group by group."""
        total, groups = 0.0, layer.get("groups", 1)
        for (i, j), seen in self.taps(layer, x, 0.0):
            pairs = zip(
                self.np.split(weight[:, :, i, j], groups, 0), self.np.split(seen, groups, 1), strict=True
            )
            total = total + self.np.concatenate(
                [self.np.einsum("oc,nchw->nohw", w, s) for w, s in pairs], axis=1
            )
        return total if bias is None else total + self.np.reshape(bias, (1, -1, 1, 1))

    def maxpool2d(self, layer, x):
        """The largest over the kernel positions; equal ones share the slope."""
        return self.np.max(self.np.stack([seen for _, seen in self.taps(layer, x, -np.inf)]), axis=0)

    def avgpool2d(self, layer, x):
        """The mean over the kernel positions."""
        fill = 1.0 if layer.get("count_padding", True) else 0.0
        count = sum(seen for _, seen in self.taps(layer, np.ones(x.shape, x.dtype), fill))
        return sum(seen for _, seen in self.taps(layer, x, 0.0)) / count

    def taps(self, layer, images, fill):
        """What each output reads, kernel position by kernel position: ((i, j), (samples, channels, oh, ow))."""
        for axis, (before, after) in enumerate(map(sides, sides(layer.get("padding", 0)))):
            frames = []
            for count in (before, after):
                frames.append([count if i == 2 + axis else size for i, size in enumerate(images.shape)])
            first, last = (np.full(frame, fill, images.dtype) for frame in frames)
            images = self.np.concatenate([first, images, last], axis=2 + axis)
        stride = layer.get("stride") or (1 if layer["type"] == "conv2d" else layer["kernel"])
        (kh, kw), (sh, sw), (dh, dw) = sides(layer["kernel"]), sides(stride), sides(layer.get("dilation", 1))
        h, w = images.shape[2] - dh * (kh - 1), images.shape[3] - dw * (kw - 1)
        for i in range(kh):
            for j in range(kw):
                yield (i, j), images[:, :, i * dh : i * dh + h, j * dw : j * dw + w][:, :, ::sh, ::sw]


class Torch:
    """By PyTorch."""

    def __init__(self):
        self.torch = importlib.import_module("torch")
        self.f = self.torch.nn.functional

    def hvp(self, layers, params, x, y, loss, v):
        """Backward over backward."""
        w = self._flat(params).requires_grad_()
        (slope,) = self.torch.autograd.grad(
            self._losses(layers, params, x, y, loss)(w).mean(), w, create_graph=True
        )
        if not slope.requires_grad:  # a piecewise linear network of one layer
            return self.torch.zeros_like(v)
        (product,) = self.torch.autograd.grad(slope @ v, w)
        return product

    def hessian(self, layers, params, x, y, loss):
        """Backward over backward, all rows at once."""
        each, jacobian = self._losses(layers, params, x, y, loss), self.torch.func.jacrev
        return jacobian(jacobian(lambda w: each(w).mean()))(self._flat(params))

    def gauss_newton(self, layers, params, x, y, loss):
        """The outputs' Jacobian; the softmax's curvature written out."""
        w = self._flat(params)
        f = self.forward(layers, unflattened(params, w), x)
        J = self.torch.func.jacrev(lambda u: self.forward(layers, unflattened(params, u), x))(w)
        S = self.torch.eye(f.shape[1], dtype=f.dtype).expand(len(x), -1, -1)
        if loss == "cross_entropy":
            p = f.softmax(1)
            S = self.torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        return self.torch.einsum("nki,nkl,nlj->ij", J, S, J) / len(x)

    def per_sample_gradients(self, layers, params, x, y, loss):
        """The Jacobian of the losses."""
        return self.torch.func.jacrev(self._losses(layers, params, x, y, loss))(self._flat(params))

    def _flat(self, params):
        return self.torch.cat([params[name].detach().reshape(-1) for name in trainable(params)])

    def _losses(self, layers, params, x, y, loss):
        def each(w):
            out = self.forward(layers, unflattened(params, w), x)
            if loss == "squared":
                return ((out - y) ** 2).sum(1) / 2
            return self.f.cross_entropy(out, y, reduction="none")

        return each

    def forward(self, layers, params, x, prefix=""):
        """The outputs."""
        for i, layer in enumerate(layers):
            if layer["type"] == "residual":
                body = self.forward(layer["body"], params, x, f"{prefix}{i}.body.")
                x = body + self.forward(layer.get("shortcut", []), params, x, f"{prefix}{i}.shortcut.")
            else:
                x = self.step(layer, x, own_of(params, f"{prefix}{i}"))
        return x

    def step(self, layer, x, own):
        """One layer."""
        f, kind = self.f, layer["type"]
        if kind == "dense":
            return f.linear(x, own["weight"], own.get("bias"))
        if kind == "conv2d":
            settings = {name: layer[name] for name in ("stride", "padding", "dilation", "groups")}
            return f.conv2d(x, own["weight"], own.get("bias"), **settings)
        if kind in ("maxpool2d", "avgpool2d"):
            pool = f.max_pool2d if kind == "maxpool2d" else f.avg_pool2d
            return pool(x, layer["kernel"], layer.get("stride"), layer.get("padding", 0))
        if kind == "batchnorm2d":
            return f.batch_norm(
                x, own["running_mean"], own["running_var"], own["weight"], own["bias"], eps=layer["eps"]
            )
        plain = {"flatten": lambda x: x.flatten(1), "globalavgpool": lambda x: x.mean((2, 3), keepdim=True),
                 "tanh": self.torch.tanh, "sigmoid": self.torch.sigmoid}  # fmt: skip
        return plain[kind](x) if kind in plain else getattr(f, kind)(x)
