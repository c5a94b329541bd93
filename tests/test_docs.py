"""What the documentation says is what the package has: README examples run, every public name has a page."""

import csv
import importlib
import json
import re
import sys
import textwrap
import types
from pathlib import Path

import numpy as np
import pytest

import refprune as rp
from refprune import datasets, definitions, interop, testing
from refprune.demo.kernels import right
from refprune.testing.claims import CHOICES

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


def api_names():
    """The names on the API page, by module."""
    names, module = {}, None
    for line in (ROOT / "docs/api/index.rst").read_text().splitlines():
        if line.startswith(".. currentmodule::"):
            module = line.split()[-1]
        elif re.fullmatch(r"   [A-Za-z0-9_.]+", line):
            names.setdefault(module, set()).add(line.strip())
    return names


def test_readme_prunes_a_network_and_has_a_kernel_a_method_and_derivatives():
    assert len(BLOCKS) == 4
    assert all(8 <= len(block.splitlines()) <= 12 for block in BLOCKS)  # "ten lines"


def test_readme_example_of_pruning_a_network_runs():
    scope = {}
    exec(BLOCKS[0], scope)  # it asserts its own claim
    assert scope["sparse"].report.sparsity == 0.5
    filters = [scope["small"].shapes[name][0] for name in ("0.weight", "3.weight")]
    assert filters == [4, 8], "half of 8 and of 16 filters"


def test_readme_example_of_a_method_runs():
    scope = {}
    exec(BLOCKS[2], scope)  # it asserts its own claim
    assert rp.NM(2, 4).admits(scope["pruned"].mask)


def test_readme_example_of_derivatives_runs():
    scope = {}
    exec(BLOCKS[3], scope)  # it asserts its own claim
    assert scope["H"].shape == (67, 67)


def test_readme_example_of_a_kernel_runs(monkeypatch):
    kernels = types.ModuleType("my_kernels")
    kernels.prune = right.prune
    monkeypatch.setitem(sys.modules, "my_kernels", kernels)
    scope = {}
    exec(BLOCKS[1], scope)
    scope["test_prune"]()


@pytest.mark.parametrize(
    ("page", "count"),
    [
        ("index", 2),
        ("networks", 2),
        ("convolutions", 3),
        ("whole_networks", 8),
        ("sparse_recovery", 6),
        ("before_training", 4),
        ("structured", 6),
        ("woodfisher", 6),
        ("snows", 2),
    ],
)
def test_the_code_on_a_page_runs(page, count):
    text = (ROOT / f"docs/{page}.rst").read_text()
    blocks = re.findall(r"code-block:: python\n\n((?:   .*\n|\n)+)", text)
    assert len(blocks) == count
    exec("\n".join(map(textwrap.dedent, blocks)), {})  # it asserts its own claims


def test_every_public_name_is_on_the_api_page():
    pages = api_names()
    assert (
        set(rp.__all__) - {"__version__", "datasets", "definitions", "interop", "testing"}
        == pages["refprune"]
    )
    assert set(datasets.__all__) == pages["refprune.datasets"]
    assert set(interop.__all__) == pages["refprune.interop"]
    assert set(definitions.__all__) == pages["refprune.definitions"]
    told = {name.split(".")[0] for name in pages["refprune.testing"]} | {"contracts"}
    assert set(testing.__all__) <= told


def test_every_name_on_the_api_page_exists():
    for module, names in api_names().items():
        for name in names:
            thing = sys.modules[module]
            for part in name.split("."):
                thing = getattr(thing, part)
            assert thing.__doc__


def test_the_kill_matrices_are_those_of_the_registry():
    stored = json.loads((ROOT / "docs/contracts/kill_matrix.json").read_text())
    assert set(stored) == set(testing.contracts)
    for name, contract in testing.contracts.items():
        assert stored[name]["mistakes"] == [mistake.name for mistake in contract.mistakes]
        assert stored[name]["checks"] == [check.name for check in contract.checks]
        killed = [sum(stored[name]["counts"][mistake].values()) > 0 for mistake in stored[name]["mistakes"]]
        assert np.all(killed)


@pytest.mark.parametrize(
    ("title", "after", "contracts", "count"),
    [
        ("Ports of SparseGPT", "Ports of WoodFisher", ("sparsegpt", "sparsegpt-nm"), 5),
        ("Ports of WoodFisher and SNOWS", "Ports of SNIP", ("woodfisher", "newton-cg"), 7),
        ("GraSP, SynFlow and ProsPr", "Edge cases", ("snip", "grasp", "synflow-scores", "prospr"), 10),
    ],
)
def test_what_ports_get_wrong_are_known_mistakes(title, after, contracts, count):
    text = (ROOT / "docs/contracts/index.rst").read_text()
    names = re.findall(r"^     - `([a-z-]+)`$", text.split(f"{title}\n")[1].split(after)[0], re.M)
    known = {m.name for name in contracts for m in testing.contracts[name].mistakes}
    assert len(names) == count
    assert set(names) <= known


def test_the_table_of_claims_has_all_of_them_and_contracts_read_them(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs/_ext"))
    pages = importlib.import_module("contract_pages")
    told = set(re.findall(r"^   \* - ``(\w+)``", pages.claim_table(), re.M))
    assert told == set(CHOICES) | {"dtypes", "rows"}
    sources = "".join(path.read_text() for path in (ROOT / "refprune/testing").rglob("*.py"))
    for name in CHOICES:
        assert re.search(rf'claims.get\(\s*"{name}"|claims\["{name}"\]|reads=\("{name}",\)', sources), name


def table(name):
    """A stored table of the documentation, one mapping for each line."""
    with (ROOT / "docs" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_figures_on_the_pages_keep_what_the_pages_say():
    for line in table("fairness.csv"):
        assert all(cell.startswith("0 / ") for key, cell in line.items() if key != "contract" and cell), line
    for line in table("sharpness.csv"):
        assert all(cell.startswith("0 of ") for cell in line.values() if " of " in cell), line
    assert {line["contract"] for line in table("fairness.csv")} == set(testing.contracts)
    direct, ours = table("benchmarks.csv")
    assert int(direct["time, rp.obs = 1"]) >= 20
    for line in table("sparsegpt.csv"):
        assert float(line["ratio"]) <= 1
        assert line["masks differ in"] == "none"
    for line in table("iht_speed.csv"):
        assert float(line["ratio"]) <= 1.3 or line["weights kept"] == "1000", line
    for line in table("ispasp_speed.csv"):
        assert float(line["ratio"]) <= (2 if line["importance"] == "signed" else 4), line
    for line in (ours, *table("scaling.csv"), *table("sparsegpt_scaling.csv")):
        assert int(line["peak memory (MiB)"]) <= int(line["stated bound (MiB)"])


def test_the_table_of_neurons_keeps_what_its_page_says():
    """Means, in percent; the spread is behind the sign."""
    lines = {(line.pop("neurons kept by"), line.pop("refit")): line for line in table("neurons.csv")}
    mean = {
        key: np.array([float(cell.split("%")[0]) for cell in line.values()]) for key, line in lines.items()
    }
    chosen = {name for name, refit in mean if refit} - {"random"}
    assert len(chosen) == 5
    assert (mean["i-SpaSP by norms", ""] > mean["i-SpaSP", ""]).all()
    assert (mean["OBD", ""] > mean["i-SpaSP", ""]).all()
    assert mean["i-SpaSP", ""][2] < mean["magnitude", ""][2]  # a quarter of the neurons
    fits = np.array([mean[name, "yes"] for name in chosen])
    assert (fits.max(axis=0) - fits.min(axis=0) < 2).all()
    assert (mean["all", ""] - fits)[:, 2].max() < 2
    for name in chosen:
        assert (mean[name, "yes"] > mean[name, ""]).all()


def test_scripts_print_and_store_their_tables(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    script = importlib.import_module("csv_tables")
    monkeypatch.setattr(script, "__file__", str(tmp_path / "script.py"))
    script.store("table.csv", iter([("a, b", "c"), (1, "± 2")]))
    assert (tmp_path / "table.csv").read_bytes() == '"a, b",c\n1,± 2\n'.encode()
    assert capsys.readouterr().out == "a, b, c\n1, ± 2\n"


def test_the_table_of_recovery_keeps_what_its_page_says(monkeypatch):
    """And its script, on signals that every method finds or misses as the table says."""
    lines = {line["method"]: line for line in table("recovery.csv")}
    for name in ("IHT, normalized", "HTP, normalized", "CoSaMP"):
        assert int(lines[name]["10 nonzeros"]) >= 99
    for name in ("IHT", "HTP"):
        assert int(lines[f"{name}, 1 / L"]["10 nonzeros"]) < 90, "the page says: too short"
    assert int(lines["HTP, normalized"]["iterations at 10"]) < int(
        lines["IHT, normalized"]["iterations at 10"]
    )
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    script = importlib.import_module("make_recovery")
    assert list(script.METHODS) == list(lines)
    A, signal = script.planted(0, 10)
    assert A.shape == (128, 256)
    assert np.count_nonzero(signal) == 10
    assert abs(A.std() * 128**0.5 - 1) < 0.03  # 4 standard errors of 32768 entries
    for name, method in script.METHODS.items():
        if "1 / L" not in name:
            answer = method(rp.LeastSquares(A, A @ signal), 10)
            assert np.allclose(answer.weight, signal, rtol=0, atol=1e-6), name


OBJECTIVES = [
    f"objectives_{data}_{scope}.csv" for data in ("digits", "fashion_mnist") for scope in ("layer", "row")
]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_star_marks_what_is_lower_than_exact_obs(name):
    lines = table(name)
    layers = 3 if "digits" in name else 4
    assert len({line["layer"] for line in lines}) == layers
    assert [int(line["zeros (%)"]) for line in lines] == [30, 50, 70, 80, 90] * layers
    for line in lines:
        values = {key: float(cell.removesuffix(" *")) for key, cell in list(line.items())[2:]}
        assert list(values) == ["magnitude", "Wanda", "SparseGPT", "SparseGPT, refit", "ALPS", "ExactOBS"]
        for key, value in values.items():
            assert 0 < value < 100
            if value != values["ExactOBS"]:  # equal to three digits may be either
                assert line[key].endswith(" *") == (value < values["ExactOBS"]), (line, key)
        assert values["SparseGPT, refit"] <= values["SparseGPT"], "the page says: never raises"
        assert values["SparseGPT, refit"] < values["Wanda"], "the page says: brings it below"
        assert all(key == "ALPS" for key in values if "*" in line[key])


def test_the_script_of_objectives_measures_what_its_page_says(monkeypatch):
    pytest.importorskip("matplotlib", reason="the script trains the demo's network")
    for folder in ("docs", "tutorials"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    script = importlib.import_module("make_objectives")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2, 5, 5)) + 0.5
    network = rp.Network([rp.Conv2d(2, 3, 2), rp.Tanh(), rp.Flatten(), rp.Dense(48, 2)])
    params = network.init(rng)
    layers = script.problems(network, params, x, batch=7)
    assert list(layers) == ["0", "3"]
    # the outputs themselves, without the Gram: half the mean squared change at a position, over that of all
    found = script.objectives(layers["0"], 0.5, "row")
    weight = params["0.weight"]
    scores = np.abs(weight).reshape(3, 8)
    kept = scores >= np.sort(scores, axis=1)[:, 4:5]
    few = params | {"0.weight": weight * kept.reshape(weight.shape)}
    none = params | {"0.weight": weight * 0}
    dense, few, none = (
        rp.Network(network.layers[:1]).forward({name: p[name] for name in ("0.weight", "0.bias")}, x)
        for p in (params, few, none)
    )
    share = float(np.sum((few - dense) ** 2) / np.sum((none - dense) ** 2))
    # two sums of 40 * 16 * 3 squares each: far below 1e-10
    assert abs(found["magnitude"] - share) < 1e-10 * share
    assert list(found) == list(script.METHODS)
    # stars: below ExactOBS by more than rounding, never at it
    made = {"a": 2.0, "b": 0.5, "c": 1 - 1e-12, "ExactOBS": 1.0}
    assert script.cells(made) == ["200", "50 *", "100", "100"]


def test_the_lines_of_wanda_above_magnitude_are_those_of_the_tables():
    found = table("objectives_wanda.csv")
    wanted = []
    for data in ("digits", "fashion_mnist"):
        for over, rows in zip(table(f"objectives_{data}_layer.csv"), table(f"objectives_{data}_row.csv")):
            layer = over["layer"].split()[0]
            if float(rows["Wanda"]) > float(over["magnitude"]):
                four = over["magnitude"], over["Wanda"], rows["Wanda"], rows["magnitude"]
                wanted.append([data.replace("_", " "), layer, over["zeros (%)"], *four])
    assert [list(line.values()) for line in found] == wanted
    above = [  # "it happens once in these tables, in layer 0 of Fashion-MNIST at 70 % in each row"
        (name, line["layer"].split()[0], line["zeros (%)"])
        for name in OBJECTIVES
        for line in table(name)
        if float(line["Wanda"]) > float(line["magnitude"])
    ]
    assert above == [("objectives_fashion_mnist_row.csv", "0", "70")]
    for line in found:  # "in none of them is Wanda above magnitude at the same scope"
        for scope in ("layer", "rows"):
            assert float(line[f"Wanda, {scope}"]) <= float(line[f"magnitude, {scope}"])


def test_the_table_of_the_larger_example_keeps_what_its_page_says():
    lines = table("fashion_mnist.csv")
    accuracy = {(line["pattern"], line["method"]): float(line["test accuracy (%)"]) for line in lines}
    zeros = {(line["pattern"], line["method"]): line["zeros (%)"] for line in lines}
    methods = ["magnitude", "Wanda", "OBD", "SparseGPT", "ALPS", "ExactOBS"]
    assert list(accuracy) == [("dense", "")] + [
        (pattern, method)
        for pattern in ("2:4", "50 %", "80 %", "90 %", "80 %, global", "90 %, global")
        for method in methods
    ]
    assert accuracy["dense", ""] >= 88
    for (pattern, method), share in zeros.items():
        whole = {"dense": "0", "2:4": 100 * (20424 - 200) / 2 / 20424}
        wanted = float(whole.get(pattern, pattern[:2]))
        # printed to 0.1; Wanda rounds the count of each of 98 rows, by 1/2 at most: 49 / 20424 = 0.24 %
        assert abs(float(share) - wanted) <= 0.05 + 0.24 * (method == "Wanda") + 1e-9
    for pattern in ("2:4", "80 %, global", "90 %, global"):
        assert accuracy[pattern, "OBD"] == accuracy[pattern, "Wanda"]
    for pattern in ("50 %", "80 %", "90 %"):  # "there OBD keeps more accuracy"
        assert accuracy[pattern, "OBD"] > accuracy[pattern, "Wanda"]
    lower = {
        accuracy[pattern, "ALPS"] < accuracy[pattern, "ExactOBS"]
        for pattern, _ in accuracy
        if pattern != "dense"
    }
    assert lower == {True, False}  # "neither is always the better one"
    for method in methods:  # "one budget serves every method"
        for share in ("80 %", "90 %"):
            assert accuracy[f"{share}, global", method] > accuracy[share, method]
    assert all(float(line["processor time (s)"]) < 5 for line in lines[1:])
    memory = [{key: float(cell) for key, cell in line.items()} for line in table("fashion_mnist_memory.csv")]
    for line in memory:
        assert line["peak of `rp.prune` (MiB)"] < line["activations of all layers (MiB)"]
        assert line["peak of `rp.prune` (MiB)"] - line["inputs of the largest layer (MiB)"] < 20, (
            "a batch's share"
        )
    assert [line["images"] for line in memory] == [1250, 2500, 5000]


def test_one_version_everywhere():
    stated = [
        re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE),
        re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE),
    ]
    assert [match[1] for match in stated] == [rp.__version__] * 2
    assert "### Verdicts that change" in (ROOT / "CHANGELOG.md").read_text()
