"""Names of implementations and adapters: what loads, and the one line that says why something does not."""

import math

import pytest

from refprune.testing import loading
from refprune.testing.loading import LoadError, adapter, importable_name, load


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module that can be imported under the name that is returned."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(source, name="loaded_" + tmp_path.name):
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


def test_functions_classes_and_paths(module):
    name = module(
        "class Kernel:\n"
        "    def __call__(self, x):\n        return 2 * x\n"
        "    @staticmethod\n    def static(x):\n        return 3 * x\n"
        "class Answer:\n    def __init__(self, x):\n        self.x = x\n"
        "instance = Kernel()\n"
        "def function(x):\n    return x\n"
    )
    assert load(f"{name}:function")(1) == 1
    assert load(f"{name}:Kernel")(1) == 2
    assert load(f"{name}:instance")(1) == 2
    assert load(f"{name}:Kernel.static")(1) == 3
    assert load(f"{name}:Answer")(5).x == 5  # a class without __call__ is called itself


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kernels", "need module:function such as my_kernels:prune; got 'kernels'"),
        ("kernels:", "got 'kernels:'"),
        (":prune", "got ':prune'"),
        ("a:b:c", "got 'a:b:c'"),
        ("my kernels:prune", "got 'my kernels:prune'"),
        ("src/kernels.py:prune", "need module:function such as src.kernels:prune, no file"),
        ("kernels.py", "such as kernels:prune, no file"),
        ("no_such_module_here:f", "importing 'no_such_module_here' raised ModuleNotFoundError"),
        ("math:hypo", "did you mean 'hypot'"),
        ("math:pi", "math:pi is a float"),
        ("math:zzz", "it has "),
        ("math:pi.zzz", "it has no functions"),
    ],
)
def test_names_that_mean_nothing(name, message):
    with pytest.raises(LoadError) as error:
        load(name)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import sys\nsys.exit('bye')\n", r"called sys.exit\('bye'\) \(.*:2 in <module>\)"),
        ("raise ValueError('two\\nlines')\n", "raised ValueError: two lines"),
        ("import no_such_thing_at_all\n", "No module named 'no_such_thing_at_all'"),
        ("x = (\n", "raised SyntaxError"),
        ("raise ValueError('long ' * 1000)\n", r"\.\.\. \("),
    ],
)
def test_modules_that_do_not_import(module, source, message):
    name = module(source)
    with pytest.raises(LoadError, match=message) as error:
        load(f"{name}:f")
    assert len(str(error.value)) < 700


def test_a_class_that_cannot_be_made(module):
    name = module("class K:\n    def __init__(self, size): ...\n    def __call__(self): ...\n")
    with pytest.raises(LoadError, match=f"making an instance of {name}:K raised TypeError"):
        load(f"{name}:K")


def test_importable_names():
    assert importable_name(load) == "refprune.testing.loading:load"
    assert (
        importable_name(loading.Adapter.implementation) == "refprune.testing.loading:Adapter.implementation"
    )
    assert load(importable_name(math.hypot)) is math.hypot


def local(x):
    """A function whose name will be taken by another."""


class Instance:
    """An instance has no name of its own."""

    def __call__(self):
        """Nothing."""


@pytest.mark.parametrize("what", ["lambda", "local", "instance", "renamed", "main", "partial"])
def test_what_cannot_be_imported_by_name(what):
    import functools

    def inner():
        pass

    def main():
        pass

    main.__module__ = "__main__"

    def renamed():
        pass

    renamed.__qualname__ = "local"
    cases = {
        "lambda": lambda: 0,
        "local": inner,
        "instance": Instance(),
        "renamed": renamed,
        "main": main,
        "partial": functools.partial(local, 1),
    }
    with pytest.raises(ValueError, match=r"for isolate=True; got .*isolate=False"):
        importable_name(cases[what])


GOOD = "NAME, VERSION = 'n', 1\nCLAIMS = {'obs-groups': {}}\ndef obs_groups(*a): ...\n"


def test_adapter(module):
    found = adapter(module(GOOD))
    assert (found.name, found.version, found.claims) == ("n", "1", {"obs-groups": {}})
    assert load(found.implementation("obs-groups")).__name__ == "obs_groups"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("NAME = 'n'\n", "it lacks VERSION, CLAIMS"),
        (GOOD + "CLAIMS = ['obs']\n", "need CLAIMS as a mapping"),
        (GOOD + "CLAIMS = {'obs': 3}\n", "need CLAIMS as a mapping"),
        (GOOD + "CLAIMS = {'exact-obs': {}}\n", "need a function 'exact_obs' for claim 'exact-obs'"),
        ("1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_modules_that_are_no_adapters(module, source, message):
    with pytest.raises(LoadError, match=message):
        adapter(module(source))


def test_adapter_needs_a_module_name():
    with pytest.raises(LoadError, match="need the name of an adapter module"):
        adapter("kernels:prune")
