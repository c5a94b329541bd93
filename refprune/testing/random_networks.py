"""Random networks as plain data, for tests that want many of them: every kind of layer in every combination."""

from .architectures import ACTIVATIONS, FLATTEN, GLOBAL, conv, dense, norm
from .network_shapes import parameter_shapes


def random_layers(rng, extended=True):
    """(layers, shape of a sample).

    One to three blocks, dense or on images, and a dense layer at the end. With `extended` also what the contracts
    do not ask for: ReLU6, padding that differs from side to side, dilated pools, averages without the padding.

    >>> import numpy as np
    >>> layers, shape = random_layers(np.random.default_rng(3))
    >>> layers[-1]["type"]
    'dense'
    """
    draw = _Draw(rng, extended)
    shape = tuple(draw.sizes(4, 7, 2)) if draw.chance(0.7) else ()
    first = (draw.size(1, 4), *shape) if shape else (draw.size(2, 6),)
    layers, shape = [], first
    for _ in range(draw.size(1, 4)):
        added = draw.block(shape)
        layers, shape = layers + added, parameter_shapes(added, shape)[1]
    if len(shape) == 3:
        added = [GLOBAL, FLATTEN] if shape[1] * shape[2] > 6 or draw.chance(0.3) else [FLATTEN]
        layers, shape = layers + added, parameter_shapes(added, shape)[1]
    return [*layers, dense(shape[0], draw.size(1, 5), draw.chance(0.7))], first


class _Draw:
    def __init__(self, rng, extended):
        self.rng, self.extended = rng, extended

    def size(self, low, high):
        return int(self.rng.integers(low, high))

    def sizes(self, low, high, count):
        return [self.size(low, high) for _ in range(count)]

    def chance(self, share):
        return bool(self.rng.random() < share)

    def activation(self):
        return {"type": str(self.rng.choice([*ACTIVATIONS, "relu6"][: len(ACTIVATIONS) + self.extended]))}

    def block(self, shape):
        """A parametrised layer, an activation, and what may stand around them."""
        if len(shape) == 1:
            return self.vectors(shape[0])
        kind = self.rng.choice(["conv", "conv", "residual", "shortcut"])
        if kind == "residual":
            body = [self.same(shape[0], shape[0]), *self.maybe_norm(shape[0]), self.activation()]
            if self.chance(0.5):
                body.append(self.same(shape[0], shape[0]))
            return [{"type": "residual", "body": body}, *self.maybe_norm(shape[0])]
        if kind == "shortcut":
            out, stride = self.size(1, 4), self.size(1, 3)
            body = [conv(shape[0], out, 3, stride, 1, bias=self.chance(0.5)), *self.maybe_norm(out)]
            shortcut = [conv(shape[0], out, 1, stride, bias=False), *self.maybe_norm(out)]
            return [{"type": "residual", "body": body, "shortcut": shortcut}, self.activation()]
        layer = self.conv(shape)
        layers = [layer, *self.maybe_norm(layer["out_channels"]), self.activation()]
        return layers + self.maybe_pool(parameter_shapes(layers, shape)[1])

    def vectors(self, inputs):
        outputs = self.size(1, 6)
        if self.chance(0.3):
            body = [dense(inputs, outputs, self.chance(0.5)), self.activation(), dense(outputs, inputs)]
            shortcut = {"shortcut": [dense(inputs, inputs, False)]} if self.chance(0.4) else {}
            return [{"type": "residual", "body": body, **shortcut}]
        return [dense(inputs, outputs, self.chance(0.7)), self.activation()]

    def same(self, channels, out):
        """A convolution that keeps height and width."""
        groups = channels if channels == out and self.chance(0.3) else 1
        return conv(channels, out, 3, 1, 1, groups=groups, bias=self.chance(0.5))

    def conv(self, shape):
        channels = shape[0]
        groups = self.rng.choice([g for g in (1, 1, channels, 2) if channels % g == 0])
        out = int(groups) * self.size(1, 3)
        kernel, stride = self.sizes(1, 4, 2), self.sizes(1, 3, 2)
        padding, dilation = [self.size(0, k) for k in kernel], self.sizes(1, 3, 2)
        for side in (0, 1):  # a window must fit
            if dilation[side] * (kernel[side] - 1) + 1 > shape[1 + side] + 2 * padding[side]:
                kernel[side] = 1
        if self.extended and self.chance(0.3):
            padding = [(p, self.size(p, p + 2)) for p in padding]
        sides = [value[0] if value[0] == value[1] and self.chance(0.5) else tuple(value)
                 for value in (kernel, stride, padding, dilation)]  # fmt: skip
        if isinstance(sides[2], tuple) and not isinstance(padding[0], tuple):
            sides[2] = tuple(padding)
        return conv(channels, out, *sides, int(groups), self.chance(0.7))

    def maybe_norm(self, channels):
        return [norm(channels)] if self.chance(0.3) else []

    def maybe_pool(self, shape):
        if min(shape[1:]) < 2 or not self.chance(0.9):
            return []
        pool = {"type": str(self.rng.choice(["maxpool2d", "maxpool2d", "avgpool2d"])), "kernel": 2}
        if self.chance(0.5):
            pool |= {"stride": self.size(1, 3), "padding": self.size(0, 2)}
        if self.extended and self.chance(0.3):
            pool["kernel"] = (2, 1)
            pool["padding"] = 0
            if shape[1] > 2:
                pool["dilation"] = (2, 1)
        if self.extended and pool["type"] == "avgpool2d" and self.chance(0.4):
            pool["count_padding"] = False
        return [pool]
