"""The backend suite of the `onnx` package: each case gives the recorded output, or is left out for a reason."""

import csv
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx", reason='ONNX files are read here: pip install "refprune[onnx]"')

from refprune.interop.onnx_import import OPERATORS  # noqa: E402
from tests.interop.onnx_cases import KINDS, cases, run  # noqa: E402

DOCS = Path(__file__).resolve().parents[2] / "docs"
sys.path.insert(0, str(DOCS))
import make_onnx_cases as tables  # noqa: E402

sys.path.remove(str(DOCS))

# Why a case is left out although every operator in it is one that is read in some form.
REASONS = [
    r"need an input of floating-point numbers; got .* of (U?INT\d+|BOOL|STRING|FLOAT\w+|no tensor|uint16)",
    r"need an input \(samples, (features|channels, height, width)\); got shape .*",  # 1-D and 3-D images, stacks
    r"need x of shape \(samples, ...\) .*",
    r"need a file with one input that is no initialiser; got .*",
    r"need an output that depends on what the input holds; got .*",
    r"it is written for training.*",
    r"its .* depends on the network's input; need a constant",
    r"a constant is added only right after MatMul, Gemm or Conv .*",
    r"it adds a constant to more than one value",
    r"it is read only .*",
    r"a (product|quotient) is read only as part of .*",
    r"axis=\d does not keep the samples apart",
    r"approximate=tanh is not the exact GELU",
    r"alpha=0.5 is not SiLU",
    r"its C of shape .* may differ between samples: it is no bias",
    r"transA=1 multiplies the transposed value",
    r"need padding with zeros; got .*",
    r"zeros around an image go only into .*",
    r"need the mean over height and width; got .*",
    r"need a squeeze of height and width; got .*",
    r"from .* to .* is no Flatten",
    r"it changes the precision.*",
]


@pytest.fixture(scope="module")
def found():
    return tables.rows()


def test_every_case_ran_or_is_left_out_for_a_reason(found):
    assert [row[:2] for row in found] == [[case.kind, case.name] for case in cases()]
    for kind, name, outcome, operator, reason in found:
        assert kind in KINDS
        assert (outcome == "ran") == (not operator) == (not reason), name


def test_cases_of_operators_that_are_read_are_left_out_only_for_known_reasons(found):
    left = {tuple(row[:2]): row for row in found if row[2] == "left out"}
    for case in cases():
        row = left.get((case.kind, case.name))
        if row is not None and {node.op_type for node in case.model().graph.node} <= set(OPERATORS):
            assert any(re.fullmatch(reason, row[4], flags=re.DOTALL) for reason in REASONS), row


def test_an_operator_without_a_layer_is_one_that_is_not_read(found):
    for _, name, _, operator, reason in found:
        assert reason != "no layer does this" or operator not in OPERATORS, name


def test_cases_of_images_ran(found):
    # the operators of the issue, by the cases that are about nothing else
    ran = {row[1] for row in found if row[2] == "ran"}
    assert {f"test_Conv2d{name}" for name in ("", "_depthwise_with_multiplier", "_dilated", "_groups")} <= ran
    assert {"test_MaxPool2d_stride_padding_dilation", "test_AvgPool2d_stride", "test_Linear_no_bias"} <= ran
    assert {"test_BatchNorm2d_eval", "test_globalaveragepool", "test_operator_mm", "test_resnet50"} <= ran
    assert {
        "test_averagepool_2d_same_lower",
        "test_maxpool_2d_ceil",
        "test_vgg19",
        "test_flatten_axis1",
    } <= ran
    assert {
        "test_gemm_default_vector_bias",
        "test_reshape_reduced_dims",
        "test_gelu_default_2_expanded",
    } <= ran


def test_the_tables_of_the_documentation_are_those_of_this_run(found):
    with tables.SUITES.open(newline="") as file:
        suites = list(csv.reader(file))
    if suites[0][0] != f"onnx {onnx.__version__}":
        pytest.skip(f"the tables of the documentation are of {suites[0][0]}, this is {onnx.__version__}")
    for path, table in (
        (tables.CASES, [tables.HEADER, *found]),
        (tables.SUITES, tables.suites(found, onnx.__version__)),
        (tables.LEFT_OUT, tables.left_out(found)),
    ):
        with path.open(newline="") as file:
            assert list(csv.reader(file)) == [[str(item) for item in row] for row in table], path.name


def test_the_suite_can_fail(monkeypatch):
    # each of these cases sees the one thing that its importer gets wrong
    from refprune.interop import onnx_layers

    chosen = {case.name: case for case in cases()}
    together = {
        "test_Linear": ("_scaled", lambda array, factor: array + array.max() / 1e5),
        "test_Conv2d_padding": ("together", lambda sides, more: ((0, 1), (0, 1))),
        "test_BatchNorm2d_momentum_eval": ("decimal", lambda value: value * 1.01),
    }
    for name, (attribute, wrong) in together.items():
        assert run(chosen[name])[0] == "ran"
        with monkeypatch.context() as patch:
            patch.setattr(onnx_layers, attribute, wrong)
            with pytest.raises(AssertionError, match=name):
                run(chosen[name])


def test_every_suite_has_its_cases(found):
    assert set(Counter(row[0] for row in found)) == set(KINDS)
