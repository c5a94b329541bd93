"""Hessian, its blocks and diagonal, Gauss-Newton and Fisher matrices: closed forms and properties."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from refprune.network import (
    Conv2d,
    Dense,
    Flatten,
    MaxPool2d,
    Network,
    SiLU,
    Tanh,
    matrices,
    outer_products,
)
from tests.network.checking import EPS, Case, case, close, frozen

seeds = st.integers(0, 2**32 - 1)
cases = seeds.map(case)


def full(found, **options):
    return found.network.hessian(*found.data, found.loss, **options)


def indices_of(network, key):
    """The flat indices of a name, or of all names under a key, from the shapes."""
    found, start = [], 0
    for name, shape in network.shapes.items():
        stop = start + int(np.prod(shape))
        if (name + ".").startswith(key + "."):
            found += range(start, stop)
        start = stop
    return found


@st.composite
def parts_of(draw, network):
    """(what names a part of the flat vector, the indices it stands for)."""
    names = list(network.shapes)
    keys = sorted(
        {".".join(name.split(".")[:n]) for name in names for n in range(1, len(name.split(".")) + 1)}
    )
    kind = draw(st.sampled_from(["all", "key", "keys", "indices"]))
    if kind == "all":
        return None, list(range(network.size))
    if kind == "key":
        key = draw(st.sampled_from(keys))
        return key, indices_of(network, key)
    if kind == "keys":  # in any order, with repeats and overlaps, none at all
        several = draw(st.lists(st.sampled_from(keys), max_size=4))
        some = tuple(several) if draw(st.booleans()) else several
        return some, [i for key in several for i in indices_of(network, key)]
    some = draw(st.lists(st.integers(0, network.size - 1), max_size=2 * network.size))
    fitting = [
        t for t in (np.int64, np.int32, np.uint64, np.uint8, np.int8) if network.size <= np.iinfo(t).max
    ]
    return frozen(np.array(some, draw(st.sampled_from(fitting)))), some


@given(st.data(), cases)
def test_any_block_in_any_order(data, found):
    rows, r = data.draw(parts_of(found.network), "rows")
    columns, c = data.draw(parts_of(found.network), "columns")
    if columns is None:
        c = r  # what the rows are
    H, memory = full(found), data.draw(st.sampled_from([1, 3000, 2**28]), "memory")
    block = full(found, rows=rows, columns=columns, memory=memory)
    close("block", block, H[np.ix_(r, c)], 2 * found.bound(H))
    assert block.dtype == H.dtype
    if r == c:
        assert_array_equal(block, block.T)
    product = found.network.hvp(*found.data, np.eye(found.network.size)[c], found.loss)
    close("columns are products", block.T, product[:, r], 2 * found.bound(H))


@given(cases)
def test_columns_are_products_with_unit_vectors(found):
    H = full(found)
    assert_array_equal(H, H.T)  # bit for bit
    unit = np.eye(found.network.size)
    close("columns", H, found.network.hvp(*found.data, unit, found.loss).T, 2 * found.bound(H))
    close("one", H[:, 0], found.network.hvp(*found.data, unit[0], found.loss), 2 * found.bound(H))
    diagonal = found.network.hessian_diagonal(*found.data, found.loss)
    close("diagonal", diagonal, np.diagonal(H), 2 * found.bound(H))


@pytest.mark.parametrize("memory", [1, 64, 2000, 30_000, 200_000])
def test_memory_changes_nothing_but_rounding(memory, monkeypatch):
    sizes, directions = [], matrices._directions

    def counting(*arguments):
        for a, b, found in directions(*arguments):
            sizes.append(b - a)
            yield a, b, found

    monkeypatch.setattr(matrices, "_directions", counting)
    for seed in range(8):
        found = case(seed, ("ConvGroups", "Residual", None)[seed % 3])
        for name in ("hessian", "hessian_diagonal", "gauss_newton"):
            whole, little = (
                getattr(found.network, name)(*found.data, found.loss, **options)
                for options in ({}, {"memory": memory})
            )
            close(f"{name} in {memory} bytes", little, whole, 2 * found.bound(whole))
        whole, little = (
            found.network.model_fisher(found.params, found.x, found.loss, **options)
            for options in ({}, {"memory": memory})
        )
        close("model_fisher", little, whole, 2 * found.bound(whole))
        if memory == 1:
            sizes.clear()
            full(found, memory=1)
            assert set(sizes) == {1}  # one direction at a time
    assert memory == 1 or len(set(sizes)) > 1


@pytest.mark.parametrize("strip", [1, 3, 1000])
def test_strips_of_rows_change_nothing_but_rounding(strip, monkeypatch):
    for seed in range(6):
        found = case(seed, ("Conv", "Shortcut", None)[seed % 3])
        names = ("hessian", "gauss_newton", "empirical_fisher")
        whole = [getattr(found.network, name)(*found.data, found.loss) for name in names]
        with monkeypatch.context() as patch:
            patch.setattr(matrices, "STRIP", strip)
            patch.setattr(outer_products, "STRIP", strip)
            patch.setattr(outer_products, "MEMORY", 1)
            for name, wanted in zip(names, whole, strict=True):
                options = {} if name == "empirical_fisher" else {"memory": 1}
                got = getattr(found.network, name)(*found.data, found.loss, **options)
                close(f"{name} in strips of {strip}", got, wanted, 2 * found.bound(wanted))
                assert_array_equal(got, got.T)


@pytest.mark.parametrize("name", ["hessian", "hessian_diagonal", "gauss_newton", "model_fisher"])
def test_temporary_arrays_keep_to_the_budget(name):
    """About: at most twice the budget, and 1 MiB for one part of the samples, their copies, and a strip of rows."""
    rng = np.random.default_rng(0)
    for layers, shape in (
        ([Dense(20, 20), Tanh(), Dense(20, 10)], (300, 20)),
        ([Conv2d(1, 3, 3, padding=1), MaxPool2d(2), Conv2d(3, 6, 3), SiLU(), Flatten(), Dense(54, 9)], (32, 1, 10, 10)),
    ):  # fmt: skip
        network = Network(layers)
        params, x, y = network.init(rng), rng.normal(size=shape), rng.integers(9, size=shape[0])
        arguments = (params, x) if name == "model_fisher" else (params, x, y)
        getattr(network, name)(*arguments)  # what is made once is made
        for memory in (2**20, 2**21):  # the matrices take 3 and 4 MB
            tracemalloc.start()
            result = getattr(network, name)(*arguments, memory=memory)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak - result.nbytes <= 2 * memory + 2**20, (peak - result.nbytes) / memory


@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
def test_one_dense_layer_has_a_closed_form(loss):
    """With z = (x, 1) the Hessian is the mean of S (x) z z^T: S = diag p - p p^T, or the identity."""
    rng = np.random.default_rng(0)
    network, x = Network([Dense(3, 4)]), rng.normal(size=(5, 3)) + 0.3
    params = network.unflatten(rng.normal(size=16))
    y = rng.integers(4, size=5) if loss == "cross_entropy" else rng.normal(size=(5, 4))
    H = np.zeros((16, 16))
    order = [
        *(4 * o + i for o in range(4) for i in range(3)),
        *(4 * o + 3 for o in range(4)),
    ]  # weights, then biases
    for sample in x:
        f = np.exp(params["0.weight"] @ sample + params["0.bias"])
        p = f / f.sum()
        S = np.diag(p) - np.outer(p, p) if loss == "cross_entropy" else np.eye(4)
        z = np.append(sample, 1)
        H += np.kron(S, np.outer(z, z))[np.ix_(order, order)] / 5
    bound = 8 * 20 * EPS["float64"] * np.abs(H).max()
    arguments = (params, x, y, loss)
    close("hessian", network.hessian(*arguments), H, bound)
    close("gauss_newton", network.gauss_newton(*arguments), H, bound)  # nothing is curved but the loss
    close("model_fisher", network.model_fisher(params, x, loss), H, bound)


def test_negative_curvature_by_hand():
    """1/2 (v w x - y)^2 with v = 2, w = 3, x = 5, y = 70: H = x [[v^2 x, 2 v w x - y], [., w^2 x]]."""
    network = Network([Dense(1, 1, bias=False), Dense(1, 1, bias=False)])
    params = {"0.weight": np.array([[3.0]]), "1.weight": np.array([[2.0]])}
    arguments = (params, np.array([[5.0]]), np.array([[70.0]]), "squared")
    assert_array_equal(network.hessian(*arguments), [[100, -50], [-50, 225]])
    assert_array_equal(network.gauss_newton(*arguments), [[100, 150], [150, 225]])
    assert_array_equal(network.hessian_diagonal(*arguments), [100, 225])
    found = [case(seed, "NegativeCurvature") for seed in range(5)]
    for one in found:
        assert np.linalg.eigvalsh(full(one))[0] < -1e-3
        assert np.linalg.eigvalsh(one.network.gauss_newton(*one.data, one.loss))[0] > -one.bound(full(one))


@given(cases)
def test_gauss_newton_is_the_sum_of_outer_products(found):
    network, f = found.network, found.network.forward(found.params, found.x)
    J, d = network.jacobian(found.params, found.x), network.size
    G, wanted = network.gauss_newton(*found.data, found.loss), np.zeros((d, d))
    for f_s, J_s in zip(f, J, strict=True):
        p = np.exp(f_s - f_s.max()) / np.exp(f_s - f_s.max()).sum()
        S = np.eye(len(f_s)) if found.loss == "squared" else np.diag(p) - np.outer(p, p)
        wanted += J_s.T @ S @ J_s / len(f)
    bound = 2 * found.bound(wanted)
    close("gauss_newton", G, wanted, bound)
    assert_array_equal(G, G.T)
    assert (
        np.linalg.eigvalsh(G)[0] >= -d * bound
    )  # positive semidefinite; an eigenvalue is off by a row's errors
    close("model_fisher", network.model_fisher(found.params, found.x, found.loss), wanted, bound)
    v = np.eye(d)
    close("product", network.gauss_newton_product(*found.data, v, found.loss), wanted, bound)
    own = network.per_sample_gradients(*found.data, found.loss)
    F = network.empirical_fisher(*found.data, found.loss)
    wanted = sum(np.outer(g, g) for g in own) / len(own)  # the mean of squares
    close("empirical_fisher", F, wanted, 2 * found.bound(wanted))
    assert_array_equal(F, F.T)


@given(seeds)
def test_without_a_residual_gauss_newton_is_the_hessian(seed):
    found = case(seed, loss="squared")
    f = frozen(found.network.forward(found.params, found.x))
    exact = Case(found.layers, found.params, found.x, f, "squared")
    H = full(exact)
    close("zero residual", H, exact.network.gauss_newton(*exact.data, "squared"), 2 * exact.bound(H))
    assert exact.network.loss(*exact.data, "squared") == 0
    assert not exact.network.per_sample_gradients(*exact.data, "squared").any()


@given(cases)
def test_duplicated_samples_change_nothing(found):
    """A sum twice as long over twice as many samples; powers of two are exact, other orders of sums are not."""
    twice = [frozen(np.concatenate([array, array])) for array in (found.x, found.y)]
    for name in ("hessian", "gauss_newton", "empirical_fisher", "loss", "hessian_diagonal"):
        one = getattr(found.network, name)(*found.data, found.loss)
        close(name, getattr(found.network, name)(found.params, *twice, found.loss), one, 4 * found.bound(one))
