"""ProsPr (Alizadeh et al. 2022): how fast the loss after M steps of training changes with a switch on each weight.

Switches c = 1 act on the weights once, before the first step, `theta_0 = c w`. Then SGD trains as usual:

    b_t = m b_(t-1) + g_t(theta_t) + decay theta_t,    b_(-1) = 0,    g_t the gradient of the loss on batch t
    theta_(t+1) = theta_t - lr b_t

for t = 0 .. M-1, and the score is `|d L(theta_M) / dc|` on one batch more. Here the steps are differentiated line by
line, forward: with `J = d theta / dc` and `B = db / dc` (d, d), `J_0 = diag(w)`,

    B_t = m B_(t-1) + (H_t + decay) J_t,    J_(t+1) = J_t - lr B_t,    score = |g_M J_M|.

Without steps (M = 0), or with lr = 0, J stays diag(w): that is SNIP on the last batch. Biases are trained, but have no
switch. With `units` the weights of an output (a row, a filter) share one switch, and its derivative is their sum. The
network is plain data, as in `refprune.definitions.derivatives`; `unrolled` has the same by autograd, backward.
"""

from refprune.arrays import eye
from refprune.definitions.derivatives import gradient, hessian
from refprune.definitions.snip import cut, flattened, switched, unflattened


def prospr_scores(
    layers, params, batches, loss, lr, momentum=0, first_order=False, detach_first=False, decay=0, units=False
):
    """The scores of every weight, a dict keyed and shaped like the weights; with `units`, of every output.

    `batches` is a list of pairs (x, y): one for each step, and a last one for the loss. `first_order` takes every b
    for a constant. `detach_first` takes `b_0` for one where there is momentum, as the published code does.
    """
    theta = flattened(params)
    J = eye(theta.shape[0], theta) * theta  # d theta_0 / dc
    b, B = 0 * theta, 0 * J
    for t, (x, y) in enumerate(batches[:-1]):
        at = unflattened(theta, params)
        b = momentum * b + gradient(layers, at, x, y, loss) + decay * theta
        if not (first_order or (detach_first and t == 0 and momentum)):
            B = momentum * B + hessian(layers, at, x, y, loss) @ J + decay * J
        theta, J = theta - lr * b, J - lr * B
    x, y = batches[-1]
    found = unflattened(gradient(layers, unflattened(theta, params), x, y, loss) @ J, params)
    slopes = {key: found[key] for key in switched(params)}
    if units:
        slopes = {key: slope.reshape(slope.shape[0], -1).sum(-1) for key, slope in slopes.items()}
    return {key: abs(slope) for key, slope in slopes.items()}


def prospr(
    layers, params, batches, loss, count, lr, momentum=0, first_order=False, detach_first=False, decay=0
):
    """Prune the `count` smallest scores of the network; returns (params, masks), weights as before the training."""
    scores = prospr_scores(layers, params, batches, loss, lr, momentum, first_order, detach_first, decay)
    return cut(params, scores, count)
