"""What every test shares: Hypothesis profiles, the backends, and the header that names the versions."""

import platform
from dataclasses import dataclass

import array_api_strict
import numpy as np
import pytest
import scipy
from hypothesis import HealthCheck, settings

import refprune
from refprune.arrays import to_numpy
from tests.stand_in import xp as stand_in

# Doctests import every module; these hold none, and need packages that may be missing.
collect_ignore = [
    "interop/onnx_cases.py",
    "interop/onnx_graphs.py",
    "interop/torch_examples.py",
    "testing/shipped_by_backpack.py",
    "testing/shipped_by_curvlinops.py",
    "testing/shipped_by_others.py",
]

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
settings.register_profile(
    "deep", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)


@dataclass(frozen=True)
class Backend:
    """One kind of arrays: `asarray` makes them from NumPy's (floats in `dtype`), `numpy` goes back."""

    name: str
    dtype: str
    make: object

    @property
    def eps(self):
        return float(np.finfo(self.dtype).eps)

    def asarray(self, array):
        array = np.asarray(array)
        return self.make(array.astype(self.dtype) if array.dtype.kind == "f" else array.copy())

    def numpy(self, array):
        return to_numpy(array)


def _strict(device):
    return lambda array: array_api_strict.asarray(array, device=array_api_strict.Device(device))


BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("numpy-float64", "float64", lambda array: array),
        Backend("numpy-float32", "float32", lambda array: array),
        Backend("stand-in", "float64", stand_in.asarray),
        Backend("stand-in-float32", "float32", stand_in.asarray),
        Backend("strict", "float64", _strict("CPU_DEVICE")),
        Backend("strict-device1", "float64", _strict("device1")),
        Backend("strict-no-float64", "float32", _strict("no_float64")),
    )
}


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Every backend, those of array-api-strict included: for arrays, patterns, Grams and `Quadratic`."""
    return BACKENDS[request.param]


@pytest.fixture(params=[name for name in BACKENDS if not name.startswith("strict")])
def cupy_like(request):
    """NumPy and the stand-in: for code that writes in place, which array-api-strict forbids in part."""
    return BACKENDS[request.param]


def pytest_addoption(parser):
    parser.addoption("--deep", action="store_true", help="2000 fresh examples for each Hypothesis test")


def pytest_configure(config):
    settings.load_profile("deep" if config.getoption("--deep") else "ci")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """In several processes a file stays in one of them, so that its fixtures are made once."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


def pytest_report_header(config):
    profile = "deep" if config.getoption("--deep") else "ci"
    versions = f"refprune {refprune.__version__}, numpy {np.__version__}, scipy {scipy.__version__}"
    return f"{versions}, python {platform.python_version()}, hypothesis profile {profile}"
