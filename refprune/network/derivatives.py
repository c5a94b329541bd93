r"""Loss, gradient and products: the methods of `refprune.network.Network` that cost a few gradients.

The loss is :math:`L(\theta) = \frac1N \sum_s \ell(f(x_s; \theta), y_s)`; see `refprune.network.losses`.
"""

from math import prod

from refprune.arrays import Array, astype, cast, concat, eye, full, namespace, real

from . import chain, losses
from .point import NUMBERS, Point, parts


def prepared(network, params, x, y, loss):
    """The arguments of `loss`, checked, in one precision."""
    params, x = network.ready(params, x)
    losses.check(loss, y, x.shape[0], network.output_shape(x.shape[1:]))
    namespace(x, y)  # of one kind, on one device
    if loss == "squared":
        *arrays, x, y = cast(*params.values(), x, y)
        params = dict(zip(params, arrays))
    return params, x, y


def trainable(network):
    """Raise ValueError for a network without parameters: it has no derivatives."""
    if not network.size:
        raise ValueError("need a network with parameters; got none")


def points(network, params, x, y, loss, most=NUMBERS):
    """Iterate over points that hold a part of the samples each; their values and gradients add up."""
    trainable(network)
    params, x, y = prepared(network, params, x, y, loss)
    for part in parts(network, x, most):
        yield Point(network, params, x[part, ...], y[part, ...], loss, x.shape[0])


def loss(network, params: dict, x: Array, y: Array, loss: str = "cross_entropy") -> Array:
    """The mean loss over the samples, a scalar.

    Parameters
    ----------
    params : dict of arrays
    x : array, shape (samples, ...)
    y : array
        Integer labels (samples,) for ``"cross_entropy"``; targets of the outputs' shape for ``"squared"``.
    loss : str
        ``"cross_entropy"``, or ``"squared"``: half the squared distance.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> network = rp.Network([rp.Dense(2, 3)])
    >>> params = network.unflatten(np.zeros(9))
    >>> float(network.loss(params, np.ones((1, 2)), np.array([1])))  # log 3
    1.0986122886681098
    """
    params, x, y = prepared(network, params, x, y, loss)
    total = 0
    for part in parts(network, x, keep=False):
        outputs = chain.forward(network.layers, params, x[part, ...])
        total = total + namespace(outputs).sum(losses.values(loss, outputs, y[part, ...]))
    return total / x.shape[0]


def gradient(network, params: dict, x: Array, y: Array, loss: str = "cross_entropy") -> dict:
    """The gradient of the mean loss, a dict with the names of `shapes`. Arguments as of `loss`.

    Cost: 3 products with the weight of every layer (2 with that of the first).
    """
    total = None
    for point in points(network, params, x, y, loss):
        found = point.pull()
        total = found if total is None else {name: total[name] + g for name, g in found.items()}
    return {name: total[name] for name in network.shapes}


def hvp(network, params: dict, x: Array, y: Array, v: Array, loss: str = "cross_entropy") -> Array:
    r"""The exact product of the Hessian of the mean loss and `v`, by the R-operator (Pearlmutter 1994).

    Parameters
    ----------
    params, x, y, loss
        As of `loss`.
    v : array, shape (d,) or (directions, d)
        Over the flat vector.

    Returns
    -------
    array of the shape of `v`

    Notes
    -----
    Cost of one direction: 8 products with the weight of every layer where a gradient has 3 (3 and 2 for the
    first layer). At a kink of the network any one-sided derivative is taken.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> network = rp.Network([rp.Dense(2, 1, bias=False)])
    >>> params, x, y = {"0.weight": np.zeros((1, 2))}, np.array([[1.0, 2.0]]), np.array([[1.0]])
    >>> network.hvp(params, x, y, np.array([1.0, 0.0]), loss="squared")  # x x^T v
    array([1., 2.])
    """
    return _products(network, params, x, y, v, loss, False)


def gauss_newton_product(
    network, params: dict, x: Array, y: Array, v: Array, loss: str = "cross_entropy"
) -> Array:
    r"""The product of the Gauss-Newton matrix :math:`\frac1N \sum_s J_s^T H_s J_s` and `v` (Schraudolph 2002).

    J is the Jacobian of a sample's outputs, H the Hessian of its loss in the outputs. Arguments and result as of
    `hvp`; no second derivative of a layer is needed.
    """
    return _products(network, params, x, y, v, loss, True)


def _products(network, params, x, y, v, loss, gauss_newton):
    real("v", v, ndim=(1, 2))
    if v.shape[-1] != network.size:
        raise ValueError(f"need v of shape ({network.size},) or (directions, d); got {tuple(v.shape)}")
    real("x", x)
    x, v = cast(x, v)
    lead, total, directions = tuple(v.shape[:-1]), None, None
    for point in points(network, params, x, y, loss, max(1, NUMBERS // max(1, prod(lead)))):
        if directions is None:
            directions = split(
                network, v if v.dtype == point.outputs.dtype else astype(v, point.outputs.dtype)
            )
        if not gauss_newton:
            point.pull(None)
        found = point.tangent(directions, gauss_newton=gauss_newton)
        found = join(network, found, network.shapes, lead, point.outputs)
        total = found if total is None else total + found
    return total


def per_sample_gradients(network, params: dict, x: Array, y: Array, loss: str = "cross_entropy") -> Array:
    """The gradient of every sample's own loss (not divided by the samples), (samples, d). Arguments as of `loss`.

    Their mean is the gradient.
    """
    found = []
    for point in points(network, params, x, y, loss, max(1, NUMBERS // 4)):
        gradients, samples = point.pull("samples"), point.outputs.shape[0]
        found.append(join(network, gradients, network.shapes, (samples,), point.outputs))
    return concat(found, axis=0)


def jacobian(network, params: dict, x: Array) -> Array:
    """The derivative of every output with respect to the flat vector, (samples, outputs, d).

    Outputs that are images are flattened in C order.
    """
    trainable(network)
    params, x = network.ready(params, x)
    outputs = prod(network.output_shape(x.shape[1:]))
    most = max(1, NUMBERS // (outputs + 1))
    found = [jacobian_part(network, params, x[part, ...])[1] for part in parts(network, x, most)]
    return concat(found, axis=0)


def jacobian_part(network, params, x):
    """The outputs and the Jacobian for few samples, arguments checked already."""
    f, records = chain.record(network.layers, params, x)
    samples, *shape = f.shape
    xp, outputs = namespace(f), prod(shape)
    delta = xp.broadcast_to(eye(outputs, f)[:, None, :], (outputs, samples, outputs))
    delta = xp.reshape(delta, (outputs, samples, *shape))
    gradients, _ = chain.pull(records, delta, "samples", inner=False)
    J = join(network, gradients, network.shapes, (outputs, samples), f)
    return f, xp.moveaxis(J, 0, 1)


def split(network, vectors):
    """Views of `vectors` (..., d) as a dict: name -> (..., *shape)."""
    found, start = {}, 0
    for name, shape in network.shapes.items():
        piece = vectors[..., start : start + prod(shape)]
        found[name] = namespace(vectors).reshape(piece, (*vectors.shape[:-1], *shape))
        start += prod(shape)
    return found


def join(network, gradients, names, lead, like):
    """The gradients of `names` as vectors (*lead, entries); a name that is missing stands for zeros."""
    pieces = [
        namespace(like).reshape(gradients[name], (*lead, prod(network.shapes[name])))
        if name in gradients
        else full((*lead, prod(network.shapes[name])), 0, like)
        for name in names
    ]
    return concat(pieces, axis=-1)
