"""What PyTorch ships, judged. Each test states a verdict and its reason; `docs/shipped.rst` tells the same."""

import inspect
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from refprune import testing
from refprune.testing.loading import adapter

torch = pytest.importorskip("torch", reason='PyTorch is judged here: pip install "refprune[torch]"')
nn, prune = torch.nn, pytest.importorskip("torch.nn.utils.prune")

DTYPES = ("float64", "float32")


@pytest.fixture(autouse=True)
def _adapters(monkeypatch):
    """The adapters are importable here and in the worker."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def judged(function, contract, dtype):
    """A run of an adapter in a process of its own."""
    return testing.run(f"shipped_by_others:{function}", contract, dtype=dtype, arrays="torch")


def failures(report):
    """{(check, flags)} of all that failed."""
    return {(record.check, record.flags) for record in report.failures}


def verdict(function, contract, problem):
    """One answer of an adapter, judged."""
    import shipped_by_others

    arguments = [torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in problem.values()]
    answer = getattr(shipped_by_others, function)(*arguments)
    return testing.verify(contract, problem, tuple(part.numpy() for part in answer))


def failing(found):
    """The explanation of every failed check, by its name."""
    return {check.name: check.explanation for check in found.checks if check.outcome == "fail"}


def test_adapters_are_short():
    module = adapter("shipped_by_others")
    assert (module.name, module.version) == ("PyTorch", torch.__version__)
    for contract in module.claims:
        function = getattr(__import__(module.module), contract.replace("-", "_"))
        assert len(inspect.getsource(function).splitlines()) < 20


@pytest.mark.parametrize("dtype", DTYPES)
def test_l1_unstructured_fails_on_transposed_weights_and_on_counts(dtype):
    """`compute_mask` calls `torch.abs(t).view(-1)`, and `view` refuses a tensor that is not in C order.

    The count is `round(amount * tensor_size)`, a product in floating point.
    """
    report = judged("magnitude", "magnitude", dtype)
    assert report.outcome == "fail"
    assert {check for check, _ in failures(report)} == {"answers", "count"}
    assert {flags for check, flags in failures(report) if check == "answers"} == {("Transposed",)}
    assert ("count", ("UnrepresentableSparsity",)) in failures(report)
    raised = [record.explanation for record in report.failures if record.check == "answers"]
    assert all("view size is not compatible" in text and "in compute_mask" in text for text in raised)
    assert report.looks_like == ["count-by-float-product"]


def test_l1_unstructured_on_a_transposed_weight_by_hand():
    layer = nn.Linear(2, 2)
    layer.weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).T)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        prune.l1_unstructured(layer, "weight", amount=0.5)
    convolution = nn.Conv2d(2, 2, 3).to(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        prune.l1_unstructured(convolution, "weight", amount=0.5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_l1_unstructured_miscounts_on_contiguous_weights_and_nothing_else(dtype):
    report = judged("magnitude_of_contiguous", "magnitude", dtype)
    assert {check for check, _ in failures(report)} == {"count"}
    assert ("count", ("UnrepresentableSparsity",)) in failures(report)
    assert report.looks_like == ["count-by-float-product"]
    assert report.share_undecided == 0


def test_l1_unstructured_counts_by_a_rounded_product():
    """0.7 of 45 is 31.5, half to even 32; `round(amount * tensor_size)` sees 31.499999999999996 and gives 31."""
    assert round(Fraction("0.7") * 45) == 32
    assert round(0.7 * 45) == 31
    weight = np.random.default_rng(0).normal(size=(5, 9))
    found = failing(verdict("magnitude", "magnitude", {"weight": weight, "sparsity": 0.7}))
    assert found == {"count": "31 entries are pruned in all; 32 is asked for"}
    # an exact half is counted as the contract reads it: 0.5 of 45 is 22.5, half to even 22
    assert verdict("magnitude", "magnitude", {"weight": weight, "sparsity": 0.5}).outcome == "pass"


@pytest.mark.parametrize("dtype", DTYPES)
def test_weight_norm_sparsifier_passes(dtype):
    """Columns that fill no block are refused: the mask is padded, and its shape is no longer the weight's."""
    report = judged("magnitude_nm", "magnitude-nm", dtype)
    assert report.outcome == "pass"
    assert report.share_undecided == 0
    refused = {r.explanation for r in report.records if r.check == "refuses" and "NMRemainder" in r.flags}
    assert refused
    assert all("AssertionError: mask shape" in text for text in refused)


def test_weight_norm_sparsifier_squares_weights_until_they_overflow():
    """Scores are w * w: in float32 all |w| > 1.85e19 become infinite, hence equal, and any of them may go."""
    weight = np.array([[1e20, 3e20, 2e20, 4e20]])
    wrong = []
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        problem = {"weight": weight[:, order], "n": 2, "m": 4}
        assert verdict("magnitude_nm", "magnitude-nm", problem).outcome == "pass"  # float64
        single = {**problem, "weight": problem["weight"].astype(np.float32)}
        wrong += failing(verdict("magnitude_nm", "magnitude-nm", single))
    assert "ranked" in wrong  # one order may come out right by luck


def test_weight_norm_sparsifier_is_not_nm_by_default():
    """Its defaults zero half of the blocks whole: `sparsity_level` counts blocks, `zeros_per_block` is 4."""
    from torch.ao.pruning import WeightNormSparsifier

    weight = np.arange(1.0, 9.0)[None, :]
    model = nn.Sequential(nn.Linear(8, 1, bias=False))
    model[0].weight = nn.Parameter(torch.from_numpy(weight.copy()))
    sparsifier = WeightNormSparsifier()
    sparsifier.prepare(model, [{"tensor_fqn": "0.weight"}])
    sparsifier.step()
    answer = model[0].weight.detach().numpy()
    assert answer.tolist() == [[0, 0, 0, 0, 5, 6, 7, 8]]
    found = failing(testing.verify("magnitude-nm", {"weight": weight, "n": 2, "m": 4}, answer))
    assert "count" in found
