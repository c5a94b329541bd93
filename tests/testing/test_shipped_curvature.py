"""What curvlinops and BackPACK ship, judged. Each test states a verdict and its reason; `docs/shipped.rst` tells it.

    pip install --no-deps backpack-for-pytorch curvlinops-for-pytorch unfoldNd einconv linear_operator einops \
        opt-einsum tqdm
"""

import inspect
import warnings
from pathlib import Path

import numpy as np
import pytest

from refprune import testing
from refprune.network import Network
from refprune.testing.architectures import PALETTE
from refprune.testing.loading import adapter
from refprune.testing.networks import problem

torch = pytest.importorskip("torch", reason='PyTorch is needed here: pip install "refprune[torch]"')
with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore", DeprecationWarning
    )  # linear_operator calls torch.jit.script when imported
    pytest.importorskip("curvlinops", reason="curvlinops-for-pytorch is judged here")
    pytest.importorskip("backpack", reason="backpack-for-pytorch is judged here")
nn = torch.nn

EXAMPLES = 40  # every flag at least once
# BackPACK's hooks; forward mode scripts a few formulas when it is first used
pytestmark = [
    pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _adapters(monkeypatch):
    """The adapters are importable here and in the worker."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def judged(module, function, contract, dtype="float64"):
    """A run of an adapter in a process of its own."""
    return testing.run(f"{module}:{function}", contract, examples=EXAMPLES, dtype=dtype, arrays="torch")


def test_adapters_are_short():
    for name, title in (("shipped_by_curvlinops", "curvlinops"), ("shipped_by_backpack", "backpack")):
        module = adapter(name)
        assert module.name == title
        for contract in module.claims:
            function = getattr(__import__(module.module), contract.replace("-", "_"))
            assert len(inspect.getsource(function).splitlines()) < 20


@pytest.mark.parametrize(
    ("contract", "dtype"), [("hvp", "float64"), ("hvp", "float32"), ("hessian", "float64")]
)
def test_the_hessian_of_curvlinops_stops_at_silu(contract, dtype):
    """Every failure is the same error."""
    report = judged("shipped_by_curvlinops", contract, contract, dtype)
    assert report.outcome == "fail"
    assert {record.check for record in report.failures} == {"answers"}
    assert all("aten::silu_backward" in record.explanation for record in report.failures)


@pytest.mark.parametrize("contract", ["hvp", "hessian"])
def test_the_hessian_of_curvlinops_passes_with_silu_written_as_a_product(contract):
    report = judged("shipped_by_curvlinops", f"{contract}_with_own_silu", contract)
    assert report.outcome == "pass"
    assert report.share_undecided == 0


def test_the_hessian_of_curvlinops_stops_at_silu_by_hand():
    """`jvp(jacrev(loss))` under `no_grad`: PyTorch then takes the form of silu's derivative that has none itself."""
    from curvlinops import HessianLinearOperator

    module, x = nn.Sequential(nn.Linear(2, 3), nn.SiLU(), nn.Linear(3, 1)), torch.ones(4, 2)
    data, weights = [(x, torch.zeros(4, 1))], list(module.parameters())
    with pytest.raises(NotImplementedError, match="silu_backward"):
        HessianLinearOperator(module, nn.MSELoss(), weights, data)  # it tries one product itself

    def loss(w):
        return nn.functional.silu(w).sum()

    w = torch.ones(3)
    torch.func.jvp(torch.func.jacrev(loss), (w,), (w,))
    with torch.no_grad(), pytest.raises(NotImplementedError, match="silu_backward"):
        torch.func.jvp(torch.func.jacrev(loss), (w,), (w,))
    with torch.no_grad():
        torch.func.jvp(torch.func.grad(loss), (w,), (w,))  # switches gradients on


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_gauss_newton_of_curvlinops_passes(dtype):
    report = judged("shipped_by_curvlinops", "gauss_newton", "gauss-newton", dtype)
    assert report.outcome == "pass"
    assert report.share_undecided == 0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_per_sample_gradients_of_backpack_pass(dtype):
    report = judged("shipped_by_backpack", "per_sample_gradients", "per-sample-gradients", dtype)
    assert report.outcome == "pass"
    assert report.share_undecided == 0


def test_a_mean_loss_scales_the_per_sample_gradients_of_backpack():
    """With `reduction="mean"` the rows are divided by the samples: the contract asks for each sample's own."""
    import shipped_by_backpack

    found = problem(np.random.default_rng(0), None, "float64", "cross_entropy", "dense")
    layers, params, x, y, loss = tensors(found)
    whole = shipped_by_backpack.per_sample_gradients(layers, params, x, y, loss).numpy()
    assert testing.verify("per-sample-gradients", found, whole).outcome == "pass"
    assert testing.verify("per-sample-gradients", found, whole / len(x)).outcome == "fail"


def tensors(found):
    """The call of a contract, with tensors."""
    layers, params, x, y, loss = found.values()
    params = {name: torch.from_numpy(array) for name, array in params.items()}
    return layers, params, torch.from_numpy(x), torch.from_numpy(y), loss


@pytest.fixture
def _default_float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


UNKNOWN = {"gelu": "GELU", "silu": "SiLU", "softplus": "Softplus", "batchnorm2d": "BatchNorm2d"}
CHAINS = [
    name for name, found in PALETTE.items() if not {"Residual", "Shortcut", "BatchNorm"} & {*found.flags}
]


@pytest.mark.usefixtures("_default_float64")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", CHAINS)
def test_the_hessian_diagonal_of_backpack(name, seed):
    """On chains it is the diagonal of the explicit Hessian; activations that it does not know it names."""
    import shipped_by_backpack

    loss = "squared" if name == "one output" or seed % 2 else "cross_entropy"
    found = problem(np.random.default_rng(seed), None, "float64", loss, name)
    layers, params, x, y, _ = found.values()
    unknown = [UNKNOWN[layer["type"]] for layer in layers if layer["type"] in UNKNOWN]
    if unknown:
        with pytest.raises(NotImplementedError, match=rf"does not have an extension for .*\.{unknown[-1]}'"):
            shipped_by_backpack.hessian_diagonal(*tensors(found))
        return
    expected = Network.from_dicts(layers).hessian(params, x, y, loss).diagonal()
    answer = shipped_by_backpack.hessian_diagonal(*tensors(found)).numpy()
    # 1e-12 of the largest entry, the measure of tests/network/test_against_torch.py
    assert abs(answer - expected).max() <= 1e-12 * abs(expected).max()


@pytest.mark.usefixtures("_default_float64")
@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("batch norm", NotImplementedError, "BatchNorm2d"),
        ("skip", AssertionError, "expects a backpropagation quantity"),
        ("shortcut", (NotImplementedError, AssertionError), "BatchNorm2d|expects a backpropagation quantity"),
    ],
)
def test_the_hessian_diagonal_of_backpack_refuses_what_is_no_chain(name, error, words):
    import shipped_by_backpack

    for seed in range(40):
        found = problem(np.random.default_rng(seed), None, "float64", None, name)
        if not {layer["type"] for layer in found["layers"]} & {"gelu", "silu", "softplus"}:
            break
    with pytest.raises(error, match=words):
        shipped_by_backpack.hessian_diagonal(*tensors(found))


def test_average_pools_in_backpack_have_the_default_dtype():
    """Going back through one it makes a transposed convolution of PyTorch's default dtype, float32."""
    import shipped_by_backpack

    assert torch.get_default_dtype() == torch.float32
    found = {
        name: problem(np.random.default_rng(0), "ReLU", "float64", None, name) for name in ("conv", "stride")
    }
    assert "avgpool2d" in {layer["type"] for layer in found["stride"]["layers"]}
    shipped_by_backpack.hessian_diagonal(*tensors(found["conv"]))
    with pytest.raises(RuntimeError, match="expected scalar type Double but found Float"):
        shipped_by_backpack.hessian_diagonal(*tensors(found["stride"]))
