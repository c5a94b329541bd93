r"""ProsPr by the package autograd: M steps of training written out, and differentiated as one function of the switches.

Each step takes its gradient from autograd too, and the outer derivative goes through it. No derivative of refprune is
used, and no formula for the derivative of a step: a check of `refprune.definitions.prospr`, which has one.
"""

from importlib import import_module

from refprune.definitions import by_autograd


def loss_after(
    network, params, batches, name, lr, momentum=0, first_order=False, detach_first=False, decay=0
):
    """The loss on the last batch, after a step of SGD on each of the others, as a function of the switches c (d,).

    Everything has a switch, biases too. `name` is that of the loss; the rest as of `refprune.definitions.prospr`.
    """

    def after(c):
        theta, b = c * network.flatten(params), 0
        for t, batch in enumerate(batches[:-1]):
            slope = by_autograd.gradient(by_autograd.loss(network, params, *batch, name), theta)
            b = momentum * b + slope + decay * theta
            if first_order or (detach_first and t == 0 and momentum):
                b = import_module("autograd.tracer").getval(b)  # a constant
            theta = theta - lr * b
        return by_autograd.loss(network, params, *batches[-1], name)(theta)

    return after


def prospr_scores(network, params, batches, name, lr, **options):
    """The scores of the weights, a dict in their shapes; `options` are those of `loss_after`."""
    after, w = loss_after(network, params, batches, name, lr, **options), network.flatten(params)
    slopes = network.unflatten(by_autograd.gradient(after, w**0), params)  # at c = 1
    return {name: abs(slopes[name]) for name in network.prunable}
