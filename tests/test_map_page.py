"""The map of the field: every method is on it, and needs what its row says when it is called."""

import importlib
import inspect
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import refprune as rp
from refprune import definitions, testing

ROOT = Path(__file__).resolve().parents[1]
HALF = rp.Unstructured(sparsity=0.5)
PUBLIC = [
    name
    for name in rp.__all__
    if inspect.isfunction(getattr(rp, name))
    and inspect.signature(getattr(rp, name)).return_annotation in (rp.Pruned, rp.PrunedNetwork)
]
TOOLS = {  # contracts of what no method is
    "topk-mask", "nm-mask", "gram", "gram-conv", "cg", "fisher-inverse",
    "hvp", "hessian", "gauss-newton", "per-sample-gradients",
}  # fmt: skip
OTHERS = range(1, 6)  # seeds; a choice that depends on what they change is another one at some of them
COUNTED = {
    "gradients": ("gradient", "per_sample_gradients", "pull"),
    "products": ("hvp", "hessian", "products"),
}


@pytest.fixture
def page(monkeypatch):
    pytest.importorskip("sphinx", reason="the directive is one of Sphinx")
    monkeypatch.syspath_prepend(str(ROOT / "docs/_ext"))
    return importlib.import_module("map_page")


def data(seed):
    """Forty samples with labels; another seed makes other inputs loud."""
    rng = np.random.default_rng([1, seed])
    loud = 2.0 ** rng.permutation(4)
    return loud * (rng.normal(size=(40, 4)) + 0.3), rng.integers(0, 3, size=40)


def on_a_network(name, weights, samples):
    """The answer of a method of networks; its two seeds are those of the weights and of the data."""
    network = rp.mlp([4, 6, 5, 3], activation="tanh")
    params, (x, y) = network.init(np.random.default_rng([2, weights])), data(samples)
    given = rp.magnitude(params["2.weight"], HALF).mask
    more = {
        "prune": (x, "obs", HALF),
        "ispasp_network": (x, 0.5),
        "snows": ({"2.weight": given}, x, None),
        "synflow": ((4,), HALF, 5),
        "prospr": ([(x, y)] * 3, HALF, 0.1),
        "sosp": (x, y, rp.Groups(sparsity=0.5)),
        "woodfisher_network": (x, y, HALF),
        "snip": ((x, y), HALF),
        "grasp": ((x, y), HALF),
        "force": ((x, y), HALF, 5),
    }.get(name, (HALF,))
    return getattr(rp, name)(network, params, *more)


def on_a_layer(name, weights, samples, hessian=None):
    """The same of a layer, of a matrix in its place, or of hidden units."""
    weight = np.random.default_rng([3, weights]).normal(size=(6, 4))
    x = data(samples)[0]
    if name == "ispasp":
        return rp.ispasp(np.random.default_rng([4, samples]).uniform(0.5, 1.5, size=(6, 3)), weight.T, 1)
    if name == "woodfisher":
        return rp.woodfisher(weight, np.random.default_rng(5).normal(size=(9, 24)), HALF)
    problem = rp.LayerProblem.from_inputs(weight, x)
    if hessian is not None:
        rng = np.random.default_rng([6, hessian])
        factor = 2.0 ** rng.permutation(4)[:, None] * rng.normal(size=(4, 9))
        problem = rp.Quadratic(factor @ factor.T, weight[0])
    given = np.broadcast_to([True, False, True, False], problem.weight.shape)
    return getattr(rp, name)(problem, given if name == "optimal_weights" else HALF)


def on_an_objective(name, objective):
    """The same of an objective over six weights, from 0."""
    keep = np.array([1, 1, 0, 1, 0, 1], dtype=bool) if name == "newton_cg" else 3
    return getattr(rp, name)(objective, keep, start=np.zeros(6))


class Bowl:
    """A quadratic as a user would write it: no problem of refprune."""

    def __init__(self):
        A = np.random.default_rng(7).normal(size=(12, 6))
        self.H, self.b = A.T @ A / 12, A[0]

    def value(self, w):
        return float(w @ self.H @ w / 2 - self.b @ w)

    def gradient(self, w):
        return self.H @ w - self.b

    def hvp(self, w, v):
        return v @ self.H

    def hessian(self, w):
        return self.H.copy()


def counting(monkeypatch, *kinds):
    """How often the derivatives of these classes are called, from now on."""
    calls = Counter()

    def watched(need, real):
        def method(*arguments, **named):
            # i-SpaSP pulls through the next layer too, but asks for no gradient of its weights
            calls[need] += real.__name__ != "pull" or any(a == "sum" for a in arguments if isinstance(a, str))
            return real(*arguments, **named)

        return method

    for kind in kinds:
        for need, names in COUNTED.items():
            for name in names:
                if hasattr(kind, name):
                    monkeypatch.setattr(kind, name, watched(need, getattr(kind, name)))
    return calls


def arrays(thing):
    """The arrays of a mask or a weight."""
    return list(thing.values()) if isinstance(thing, dict) else [thing]


def differ(name, one, other):
    """Whether two calls chose otherwise; where the mask is an argument, whether they set the weights otherwise."""
    field = "mask" if isinstance(one, rp.Pruned) else "masks"
    if name in ("optimal_weights", "snows"):
        field = "weight" if isinstance(one, rp.Pruned) else "params"
    return any(
        not np.array_equal(a, b) for a, b in zip(arrays(getattr(one, field)), arrays(getattr(other, field)))
    )


def mark(needed, option=False):
    """The sign of a need."""
    return "x" if needed else "o" if option else "-"


def measured(name, monkeypatch):
    """The row of a method, from calls alone."""
    method = getattr(rp, name)
    parameters = inspect.signature(method).parameters
    kind = next(iter(parameters))
    if kind == "objective":
        general = counting(monkeypatch, Bowl)
        on_an_objective(name, Bowl())
        fits = counting(monkeypatch, rp.LeastSquares)
        on_an_objective(
            name, rp.LeastSquares(np.random.default_rng(8).normal(size=(40, 6)), data(0)[0][:, 0])
        )
        marks = [mark(False, "start" in parameters), "-", mark(general["gradients"])]
        marks += [mark(fits["products"], general["products"])]
    else:
        call = on_a_network if kind == "network" else on_a_layer
        calls = counting(monkeypatch, rp.Network, rp.Reconstruction, rp.Dense)  # SynFlow pulls layer by layer
        one = call(name, 0, 0)
        marks = [mark(any(differ(name, one, call(name, seed, 0)) for seed in OTHERS))]
        marks += [mark(any(differ(name, one, call(name, 0, seed)) for seed in OTHERS))]
        marks += [mark(calls["gradients"] or "gradients" in parameters)]
        matrix = kind in ("problem", "weight") and name != "woodfisher" and takes_a_matrix(name)
        marks += [mark(calls["products"], matrix)]
    return " ".join([*marks, mark("lr" in parameters, "between" in parameters)])


def takes_a_matrix(name):
    """Whether a method of layers takes a Hessian, and heeds it."""
    try:
        one = on_a_layer(name, 0, 0, 0)
    except TypeError:
        return False
    return any(differ(name, one, on_a_layer(name, 0, 0, seed)) for seed in OTHERS)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_method_needs_what_its_row_says(page, name, monkeypatch):
    assert measured(name, monkeypatch) == page.METHODS[name], "weights, inputs, gradients, products, training"


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("snip", "grasp"),
        ("grasp", "snip"),
        ("magnitude", "wanda"),
        ("sparsegpt", "obd"),
        ("htp", "iobs"),
        ("iobs", "iht"),
        ("random_pruning", "iterative_magnitude"),
    ],
)
def test_a_method_under_the_name_of_another_is_found(page, name, other, monkeypatch):
    monkeypatch.setattr(rp, name, getattr(rp, other))
    assert measured(name, monkeypatch) == page.METHODS[other] != page.METHODS[name]


def test_every_public_method_is_on_the_map_once(page):
    assert sorted(page.METHODS) == sorted(PUBLIC)
    directives = re.findall(r"^\.\. methods:: (\w+)$", (ROOT / "docs/map.rst").read_text(), re.M)
    assert directives == list(page.NEEDS)
    assert {page.group(name) for name in PUBLIC} == set(directives), "a table without a row"


def test_every_contract_of_a_method_is_linked(page):
    found = [contract for name in page.METHODS for contract in page.judged(name)]
    assert set(found) == set(testing.contracts) - TOOLS
    twice = {contract for contract, count in Counter(found).items() if count > 1}
    assert twice <= {"newton-cg"}, "that one is held by SNOWS"


def test_every_tutorial_that_prunes_is_linked(page):
    linked = {number for name in page.METHODS for number in page.tutorials(name)}
    there = {path.stem.split("_")[1] for path in (ROOT / "tutorials").glob("plot_*.py")}
    assert there - linked <= {"2", "3", "4"}, "the oracle, and derivatives"


def test_a_label_of_a_picture_is_no_call(page, tmp_path):
    labels = 'found = {"magnitude": rp.snip(n)}\nprint(found["magnitude"], found["obd", 1])\n'
    path = tmp_path / "plot_a.py"
    path.write_text(labels)
    assert {"snip"} == page.called(path) & page.METHODS.keys()
    path = tmp_path / "plot_b.py"
    path.write_text(labels + 'for method in ("wanda", rp.obs):\n    rp.prune(n, p, x, method)\n')
    assert {"snip", "prune", "obs", "wanda"} == page.called(path) & page.METHODS.keys()


@pytest.mark.parametrize("name", PUBLIC)
def test_a_row_has_a_cost_and_links_that_lead_somewhere(page, name):
    cells = page.row(name)
    assert len(cells) == 9
    assert len(page.cost(name)) > 5
    assert f":func:`rp.{name} <refprune.{name}>`" in cells[0]
    assert set(page.defined(name)) <= set(definitions.__all__)
    assert page.defined(name) or name == "prune", "which is given a method"
    assert page.tutorials(name)
    assert page.guides(name) or page.judged(name)
    for target in re.findall(r":doc:`[^<]+ </([^>]+)>`", cells[-1]):
        folder, _, file = target.rpartition("/")
        if folder == "contracts/generated":
            assert file in testing.contracts
        else:
            assert (ROOT / (f"{target}.py" if folder else f"docs/{target}.rst")).exists(), target


def test_a_module_that_tells_no_cost_is_an_error(page, monkeypatch):
    monkeypatch.setattr(
        rp, "magnitude", rp.sparsity
    )  # `refprune.network.training` tells one, `refprune.shrink` none
    assert "gradient" in page.cost("magnitude")
    monkeypatch.setattr(rp, "magnitude", rp.shrink)
    with pytest.raises(
        ValueError, match=r"need 'Cost: \.\.\.' in the docstring of the module of magnitude; got none"
    ):
        page.cost("magnitude")


def test_the_group_is_the_last_need(page, monkeypatch):
    marks = {"a": "- - - - -", "b": "x - - - o", "c": "x x - o -", "d": "o - x o -", "e": "x x x x x"}
    monkeypatch.setattr(page, "METHODS", marks)
    assert [page.group(name) for name in marks] == ["weights", "weights", "inputs", "gradients", "training"]
