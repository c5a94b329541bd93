"""Executors: threads, processes and none give the same bits; what they hold stays bounded."""

import concurrent.futures
import functools
import multiprocessing
import os
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import refprune as rp
from refprune.pruning.calibration import advanced, in_order

HALF = rp.Unstructured(sparsity=0.5)


@pytest.fixture(scope="module")
def processes():
    """Two fresh processes: nothing is inherited, all that they get is pickled."""
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="module")
def threads():
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        yield pool


def convolutional(rng):
    network = rp.Network(
        [
            rp.Conv2d(2, 6, 3, padding=1),
            rp.ReLU(),
            rp.Conv2d(6, 6, 1),
            rp.Residual([rp.Conv2d(6, 6, 3, padding=1, groups=3), rp.Tanh()], [rp.Conv2d(6, 6, 1)]),
            rp.AvgPool2d(2),
            rp.Flatten(),
            rp.Dense(54, 5),
        ]
    )
    return network, network.init(rng), rng.normal(size=(90, 2, 6, 6)) + 0.3


def same(first, second):
    for name, value in first.params.items():
        assert value.dtype == second.params[name].dtype
        assert_array_equal(value, second.params[name])
    for name, mask in first.masks.items():
        assert_array_equal(mask, second.masks[name])
    timeless = [
        [{**row, "seconds": 0} for row in answer.report.to_dict()["layers"]] for answer in (first, second)
    ]
    assert timeless[0] == timeless[1]


CASES = {
    "pruned": {},
    "dense": {"calibration": "dense"},
    "global": {"pattern": rp.Unstructured(sparsity=0.4, scope="network")},
    "by hand": {"method": functools.partial(rp.obs, damp=0.05), "calibration": "dense", "batch_size": 13},
    "units": {"pattern": rp.Groups(sparsity=0.3, axis=1), "method": "obs"},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
@pytest.mark.parametrize("kind", ["threads", "processes"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_executor_changes_no_bit(request, kind, options, dtype):
    network, params, x = convolutional(np.random.default_rng(0))
    params = {name: value.astype(dtype) for name, value in params.items()}
    # neither C nor Fortran order: what is sent to a process comes back in C order
    x = np.ascontiguousarray(x.transpose(2, 0, 3, 1)).transpose(1, 3, 0, 2).astype(dtype, order="K")
    options = {"method": "obs", "pattern": HALF, "batch_size": 8} | options
    alone = rp.prune(network, params, x, **options)
    same(alone, rp.prune(network, params, x, **options, executor=request.getfixturevalue(kind)))


@pytest.mark.parametrize("method", ["magnitude", "wanda", "obd", "sparsegpt", "alps"])
def test_every_method_runs_in_processes(processes, method):
    network, params, x = convolutional(np.random.default_rng(1))
    pattern = rp.NM(1, 2)
    options = {
        "overrides": {"3.body.0": {"pattern": rp.Unstructured(keep=7, scope="row")}},
        "calibration": "dense",
    }
    same(
        rp.prune(network, params, x, method, pattern, **options),
        rp.prune(network, params, x, method, pattern, **options, executor=processes),
    )


def test_errors_come_back_with_the_layer(threads, processes):
    network, params, x = convolutional(np.random.default_rng(2))
    x[:, 1] = x[:, 0]  # the first Gram is singular
    for executor in (None, threads, processes):
        with pytest.raises(np.linalg.LinAlgError, match=r"^layer 0: need a positive definite gram; got"):
            rp.prune(network, params, x, "obs", HALF, calibration="dense", executor=executor)


class Counting(concurrent.futures.Executor):
    """Runs at once, and counts results that were not taken yet."""

    def __init__(self):
        self.waiting = self.most = self.submitted = 0

    def submit(self, fn, /, *args, **kwargs):
        self.submitted += 1
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        future = Taken(self)
        future.set_result(fn(*args, **kwargs))
        return future


class Taken(concurrent.futures.Future):
    def __init__(self, executor):
        super().__init__()
        self.executor = executor

    def result(self, timeout=None):
        self.executor.waiting -= 1
        return super().result(timeout)


def test_a_bounded_number_of_batches_is_in_flight_and_every_batch_is_sent():
    network, params, x = convolutional(np.random.default_rng(3))
    executor = Counting()
    rp.prune(network, params, x, "wanda", HALF, batch_size=1, executor=executor)
    assert executor.waiting == 0
    assert executor.most <= (os.cpu_count() or 1) + 1
    # once for the Gram of each of 5 weights, once up to the residual and once to the end of either branch
    assert executor.submitted == 90 * 8


def test_results_keep_the_order_of_the_calls(threads):
    assert list(in_order(threads, pow, ((i, 2) for i in range(50)))) == [i**2 for i in range(50)]
    assert list(in_order(None, pow, [(3, 2)])) == [9]


def test_a_batch_is_in_one_order_wherever_it_runs():
    """Pickled arrays come in C order. A product with another order may be summed in another one."""
    seen = []
    layer = SimpleNamespace(forward=lambda params, x: seen.append(x) or x)
    x = np.arange(24.0).reshape(4, 6)
    for given in (x, np.asfortranarray(x), x[::2, ::-1]):
        advanced([(layer, {})], None, given)
        assert seen[-1].flags.c_contiguous
        assert_array_equal(seen[-1], given)
