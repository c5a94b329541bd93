"""The public face: names, their documentation, and the answer that every method gives."""

import dataclasses
import inspect
import tomllib
from pathlib import Path

import numpy as np
import pytest

import refprune as rp

PUBLIC = [name for name in rp.__all__ if name != "__version__"]


def test_names_are_there_once():
    assert len(set(rp.__all__)) == len(rp.__all__)
    assert all(hasattr(rp, name) for name in rp.__all__)


def test_the_version_is_that_of_the_project():
    project = Path(rp.__file__).parent.parent / "pyproject.toml"
    if not project.exists():
        pytest.skip("an installed package has no pyproject.toml beside it")
    assert rp.__version__ == tomllib.loads(project.read_text())["project"]["version"]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_summary_parameters_and_an_example(name):
    member = getattr(rp, name)
    doc = inspect.getdoc(member)
    assert doc.splitlines()[0].endswith((".", "`"))
    if inspect.ismodule(member):
        return  # its names are documented where they stand
    for section in ("Parameters", "Examples") if inspect.signature(member).parameters else ("Examples",):
        assert f"\n{section}\n{'-' * len(section)}\n" in doc, section
    assert ">>> " in doc


@pytest.mark.parametrize("name", [name for name in PUBLIC if inspect.isclass(getattr(rp, name))])
def test_public_methods_of_classes_are_documented(name):
    for label, member in vars(getattr(rp, name)).items():
        if callable(member) and not label.startswith("_"):
            assert inspect.getdoc(getattr(getattr(rp, name), label)), label


def test_an_answer_is_frozen_and_equal_to_itself_only():
    first = rp.Pruned(np.zeros(2), np.zeros(2, dtype=bool))
    second = rp.Pruned(np.zeros(2), np.zeros(2, dtype=bool))
    assert first == first != second
    assert (first.objective, first.order, first.trace, first.scores) == (None, None, (), None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.weight = np.ones(2)
