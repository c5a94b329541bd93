"""The Gram of every layer's inputs, each layer passed once.

The samples are kept as a list of batches, at the place in the network that has been reached. From one pruned
layer to the next each batch goes through the layers between, and gives its share of the next Gram. The shares
are added in the order of the batches, so an executor changes no bit of the sum.

Memory: the activations of one place for all samples (of three places inside a residual), the Gram of one layer
and that of each batch in flight.
"""

import os
from collections import deque

from refprune.arrays import namespace
from refprune.gram import GramAccumulator
from refprune.network.bilinear import Conv2d
from refprune.network.chain import Residual
from refprune.network.kinds import add
from refprune.pruning.plan import named


def grams(layers, params, batches, wanted, executor=None, start=""):
    """Yield (name of the weight, Gram) for the weights named in `wanted`, in the order of execution.

    Parameters
    ----------
    layers : list of layers
    params : dict of arrays
        Read when a layer is passed: whoever gets a Gram may put another weight there before asking for the next
        one, and what follows is calibrated behind that weight.
    batches : list of arrays
        The inputs. The list is used up: at the end of a branch it holds the branch's outputs.
    wanted : container of str
    executor : concurrent.futures.Executor, optional
        Runs the batches. None: one after the other, here.
    """
    waiting = []  # layers that the batches have still to pass, (key, layer)
    for n, layer in enumerate(layers):
        key = f"{start}{n}"
        if f"{key}.weight" in wanted:
            with named(f"layer {key}"):
                gram = _advance(waiting, params, batches, executor, layer)
            yield f"{key}.weight", gram
            del gram
            waiting = [(key, layer)]
        elif isinstance(layer, Residual) and any(name.startswith(f"{key}.") for name in wanted):
            _advance(waiting, params, batches, executor)
            yield from _residual(layer, params, batches, wanted, executor, key)
            waiting = []
        else:
            waiting.append((key, layer))
    if start:  # behind the last weight of the network nobody asks for activations
        _advance(waiting, params, batches, executor)


def _residual(layer, params, batches, wanted, executor, key):
    """Both branches, and the sum of their outputs in `batches`."""
    outputs = []
    for name, branch in layer.branches().items():
        inner = list(batches)
        yield from grams(branch, params, inner, wanted, executor, f"{key}.{name}.")
        outputs.append(inner)
    for i, x in enumerate(batches):
        batches[i] = add(*(inner[i] for inner in outputs), x if layer.shortcut is None else None)
        for inner in outputs:
            inner[i] = None


def _advance(waiting, params, batches, executor, layer=None):
    """Push all batches through the layers `waiting`; the Gram of what then reaches `layer`."""
    if not (waiting or layer):
        return None
    steps = [(passed, inside(params, key)) for key, passed in waiting]
    calls = ((steps, layer, batches[i]) for i in range(len(batches)))
    total = None
    for i, (x, share) in enumerate(in_order(executor, advanced, calls)):
        batches[i] = x
        total = share if total is None else total.merge(share)
    return None if total is None else total.gram


def inside(params, key):
    """The parameters of layer `key`, by their own names."""
    return {
        name.removeprefix(f"{key}."): value for name, value in params.items() if name.startswith(f"{key}.")
    }


def advanced(steps, layer, x):
    """One batch behind the `steps` (layer, its parameters), and its Gram as the inputs of `layer` (or None)."""
    xp, shape = namespace(x), tuple(x.shape)
    x = xp.reshape(xp.reshape(x, (-1,)), shape)  # in C order, as another process gets it
    for step, params in steps:
        x = step.forward(params, x)
    return x, None if layer is None else accumulator(layer).update(x)


def accumulator(layer):
    """A new accumulator for the inputs of a Dense or Conv2d."""
    if isinstance(layer, Conv2d):
        return GramAccumulator(layer.kernel, layer.stride, layer.padding, layer.dilation, layer.groups)
    return GramAccumulator()


def in_order(executor, function, calls):
    """Yield `function(*call)` for every call, in the order of `calls`, a few at a time in the executor."""
    if executor is None:
        yield from (function(*call) for call in calls)
        return
    flying = deque()
    try:
        for call in calls:
            flying.append(executor.submit(function, *call))
            if len(flying) > (os.cpu_count() or 1):
                yield flying.popleft().result()
        while flying:
            yield flying.popleft().result()
    finally:
        for future in flying:
            future.cancel()
