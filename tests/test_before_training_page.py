"""What the page on pruning before training says: its table bears out its text, and its script measures what it says."""

import csv
import importlib
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest

import refprune as rp
from refprune.demo import digits

pytest.importorskip("sklearn", reason="the script reads the digits of scikit-learn")

PAGES = Path(__file__).resolve().parents[1] / "docs"
SHARES = ("80%", "90%", "95%", "98%")
LAST, KEPT, WHOLE = "fewest in a layer at 98%", "kept in each layer at 98%", "nothing pruned"


def read(name):
    """(line, column) -> (mean, spread) in percent, or what else stands there; the lines by their first column."""
    found = {}
    with (PAGES / name).open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            first = line.pop("chosen by")
            for column, cell in line.items():
                numbers = [float(part.rstrip("%")) for part in cell.split(" ± ")] if "±" in cell else cell
                found[first, column] = found[first, line.get("pruned"), column] = numbers
    return found


@pytest.fixture(scope="module")
def table():
    found = read("before_training.csv")
    return found | {key: int(cell or -1) for key, cell in found.items() if key[-1] == LAST}


@pytest.fixture(scope="module")
def starts():
    """Scores at other weights, and networks that start elsewhere: (name, share, column)."""
    return read("before_training_start.csv")


@pytest.fixture(scope="module")
def filters():
    return read("before_training_filters.csv")


@pytest.fixture(scope="module")
def pixels():
    return read("before_training_mnist.csv")


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(PAGES))
    return importlib.import_module("make_before_training")


def test_up_to_ninety_percent_there_is_little_between_the_methods(table):
    for name in ("SNIP", "iterative SNIP", "FORCE", "ProsPr, 3 steps", "SynFlow"):
        assert table["nothing pruned", "90%"][0] - table[name, "90%"][0] < 1.5
    assert table["nothing pruned", "90%"][0] - table["random", "90%"][0] < 5


def test_where_few_weights_are_left(table):
    snip, ahead, flow = (table[name, "98%"] for name in ("SNIP", "ProsPr, 3 steps", "SynFlow"))
    assert min(ahead[0], flow[0]) - snip[0] > max(ahead[1], flow[1], snip[1]), "more than a spread"
    for share in SHARES[:3]:
        assert abs(table["ProsPr, 3 steps", share][0] - table["SNIP", share][0]) < 1, "at 98 % alone"
    for name in ("ProsPr, 1 step", "ProsPr, 10 steps", "ProsPr, 3 steps, first order"):
        assert abs(table[name, "98%"][0] - ahead[0]) < 1.5
    iterative, force = table["iterative SNIP", "98%"], table["FORCE", "98%"]
    assert iterative[0] < snip[0] - 10
    assert force[0] < snip[0]
    assert min(iterative[1], force[1]) > 10, "unsteady"
    assert table["magnitude", LAST] == 0
    assert table["SynFlow, 1 step", LAST] == 15
    assert table["magnitude", "95%"][0] < table["random", "95%"][0]


def test_grasp_needs_its_outputs_divided(table):
    assert max(table["GraSP", share][0] for share in SHARES) < 15
    divided = {share: table["GraSP, outputs / 200", share] for share in SHARES}
    assert min(divided[share][0] for share in SHARES[1:]) > 89
    assert divided["80%"][0] < 75
    assert divided["80%"][1] > 20


@pytest.mark.parametrize("name", ["SNIP", "ProsPr, 3 steps", "SynFlow"])
def test_shuffled_masks(table, name):
    lost = {share: table[name, share][0] - table[f"{name}, shuffled", share][0] for share in SHARES}
    assert lost["90%"] < 1.5
    assert 0.4 < lost["98%"] / table[name, "98%"][0] < 0.6


def test_filters(filters):
    """Which methods lead, and that random pruning leaves the first layer next to nothing."""
    assert filters["random", "90%"][0] < filters["nothing pruned", "90%"][0] / 2
    assert filters["random", KEPT].startswith("1 /")
    for share in ("95%", "98%"):
        others = [
            filters[name, share][0] for name in ("SNIP", "iterative SNIP", "FORCE", "GraSP", "magnitude")
        ]
        assert min(filters[name, share][0] for name in ("SynFlow", "ProsPr, 3 steps")) > max(others) + 4
    assert max(filters["GraSP", share][0] for share in SHARES) < 15
    assert filters["SNIP", "90%"][0] - filters["SNIP, shuffled", "90%"][0] > 5


def test_scores_of_smaller_weights(starts, filters):
    own, small, other, longer = "He's", "He's, scored at 1/√6", "PyTorch's", "He's, 150 epochs"
    assert starts["GraSP", "80%", own][0] < 15 < 90 < starts["GraSP", "80%", small][0]
    assert starts["GraSP", "98%", own][0] < 15 < 80 < starts["GraSP", "98%", small][0]
    assert min(starts["GraSP", share, other][0] for share in ("80%", "98%")) > 86
    for column, ahead in [(own, False), (small, True)]:
        gap = starts["FORCE", "98%", column][0] - starts["SNIP", "98%", column][0]
        assert (gap > 2) == ahead
        assert (starts["FORCE", "98%", column][1] < 3) == ahead, "unsteady before"
    assert starts["iterative SNIP", "98%", small][0] > starts["iterative SNIP", "98%", own][0] + 20
    found = [cell[0] for key, cell in starts.items() if len(key) == 3 and key[2] == small]
    assert starts["FORCE", "98%", small][0] == max(found)

    def gap(column, name="ProsPr, 3 steps"):
        return starts[name, "98%", column][0] - starts["SNIP", "98%", column][0]

    assert gap(own) == pytest.approx(3.7)
    assert gap(small) == pytest.approx(0.2)
    assert gap(longer) == pytest.approx(1.5)
    assert 0.9 < gap(other) / starts["ProsPr, 3 steps", "98%", other][1] < 1.2
    assert abs(gap(own, "SNIP of 256 images")) < 1.5
    assert gap(own) - gap(own, "ProsPr, 3 steps, lr 0.01") < 1.5

    scored = {
        name: filters[f"{name}, scored at 1/√6", "98%"] for name in ("FORCE", "SNIP", "ProsPr, 3 steps")
    }
    assert [filters[name, "98%"][0] for name in scored] == [55.6, 58.6, 79.5]
    assert [mean for mean, _ in scored.values()] == [90.1, 54.3, 69.9]
    assert [filters[f"{name}, scored at 1/√6", "95%"][0] for name in scored][1:] == [92.8, 93.2]
    best = max(
        cell[0] for key, cell in filters.items() if len(key) == 2 and key[1] == "98%" and key[0] != WHOLE
    )
    assert best == scored["FORCE"][0]


def test_the_first_table_again(table, starts):
    for name, share, column in [key for key in starts if len(key) == 3 and key[1] and key[2] == "He's"]:
        if (name, share) in table:
            assert table[name, share] == starts[name, share, column]


def test_the_network_of_other_runs(pixels):
    three = SHARES[1:]
    assert pixels["magnitude", "98%"] == [10, 0], "one answer for all images"
    assert pixels["magnitude", KEPT].split(" / ")[0] == "0"
    assert pixels["magnitude, He's weights", "98%"][0] == 75.1
    assert min(pixels["magnitude", share][0] for share in three[:2]) > 82
    assert pixels["random", KEPT].split(" / ")[-1] == "5"
    assert [pixels[name, KEPT].split(" / ")[1] for name in ("iterative SNIP", "FORCE", "SNIP")] == [
        "28",
        "28",
        "226",
    ]
    for share in three:
        snip, ahead = (pixels[name, share] for name in ("SNIP", "ProsPr, 3 steps"))
        assert abs(snip[0] - ahead[0]) <= max(snip[1], ahead[1])
        assert pixels["SNIP, shuffled", share][0] >= snip[0], "at no cost"
    assert [pixels["random", share][0] < pixels["SNIP", share][0] - 14 for share in three] == [True] * 3


def test_why_magnitude_empties_the_first_layer():
    """In 784-40-20-10 with weights uniform within 1 / sqrt(n), by their number alone."""
    sizes, inputs = np.array([31_360, 800, 200]), np.array([784, 40, 20])
    above = sizes * (1 - np.sqrt(inputs / 784))
    assert above[0] == 0
    assert round(above.sum()) == 787
    assert round(0.02 * sizes.sum()) == 647
    spread = np.sqrt((above * (1 - above / sizes)).sum())
    assert above.sum() - 647 > 8 * spread, "in every draw"


def test_the_divided_outputs_of_the_script(script):
    network, data = script.DIGITS.network, digits.load()
    x, y, pattern = data.train_x[:200], data.train_y[:200], rp.Unstructured(sparsity=0.9)
    params = network.init(np.random.default_rng(0))
    plain = rp.grasp(network, params, (x, y), pattern).mask
    once, divided = (script.tempered(network, params, x, y, pattern, None, number) for number in (1, 200))
    for name, mask in plain.items():
        assert np.mean(mask == once[name]) > 0.9999, "with 1 it is GraSP, but for rounding"
    assert sum(int(mask.sum()) for mask in divided.values()) == sum(
        int(mask.sum()) for mask in plain.values()
    )
    assert any((divided[name] != mask).mean() > 0.01 for name, mask in plain.items())


def test_smaller_weights_are_divided_outputs(script):
    network, data = script.DIGITS.network, digits.load()
    params = network.init(np.random.default_rng(0))
    small = {name: script.SMALL * value for name, value in params.items()}
    outputs, less = (network.forward(given, data.test_x) for given in (params, small))
    np.testing.assert_allclose(less * 6**1.5, outputs, rtol=0, atol=1e-13 * abs(outputs).max())


def test_the_default_of_pytorch(script):
    network = script.IMAGES.network
    params = script.default(network, np.random.default_rng(0))
    assert {name: value.shape for name, value in params.items()} == network.shapes
    for name, inputs in [("0", 784), ("2", 40), ("4", 20)]:
        for part in ("weight", "bias"):
            largest = abs(params[f"{name}.{part}"]).max() * inputs**0.5
            assert 0.7 < largest <= 1


def test_the_lines_of_the_script(script, table):
    assert [*script.CHOICES] == [key[0] for key in table if len(key) == 2 and key[1] == LAST][1:]
    data, rng = digits.load(), np.random.default_rng(0)
    params = script.DIGITS.network.init(rng)
    given = script.DIGITS.network, params, data.train_x[:200], data.train_y[:200]
    masks = [
        script.CHOICES[name](*given, rp.Unstructured(sparsity=0.9), rng)
        for name in ("SNIP", "SNIP, shuffled")
    ]
    for plain, mixed in zip(*(own.values() for own in masks), strict=True):
        assert plain.sum() == mixed.sum()
        assert not np.array_equal(plain, mixed)

    quick = replace(script.DIGITS, seeds=2, training=script.trained_for(2, 0.2))
    rows = {name: (quick, name) for name in ("random", "ProsPr, 1 step")}
    head, *lines = script.by_share(rows, last=LAST)
    assert head == ("chosen by", *SHARES, LAST)
    assert [line[0] for line in lines] == ["nothing pruned", "random", "ProsPr, 1 step"]
    assert all(len(line) == len(head) for line in lines)
    head, _, line, _ = script.with_those(script.by_share(rows, script.SHARES[:1]))
    assert head[-2:] == (script.KEPT, "independent runs on MNIST")
    assert [int(number) > 0 for number in line[-2].split(" / ")] == [True] * 3
    assert line[-1] == "85 / 46 / 21"


@pytest.mark.parametrize("kind", ["CONVOLUTIONS", "IMAGES"])
def test_the_other_networks_of_the_script(script, kind, monkeypatch):
    rng = np.random.default_rng(0)
    drawn = [rng.normal(size=(n, 784)).astype("float32") for n in (1297, 500)]
    labels = [rng.integers(0, 10, size=len(part)) for part in drawn]
    made = "drawn", drawn[0], labels[0], drawn[1], labels[1]
    monkeypatch.setattr(script.make_woodfisher, "images", lambda folder: made)
    script.images.cache_clear()
    setting = replace(getattr(script, kind), training=script.trained_for(1, 0.01), looks=100)
    network = setting.network
    right, kept = script.learned(setting, "SNIP", 0.9, 1)
    assert 0 <= right <= 1
    assert sum(kept) == round(0.1 * sum(prod(network.shapes[name]) for name in network.prunable))
    _, small = script.learned(replace(setting, scale=script.SMALL), "SNIP", 0.9, 1)
    assert sum(small) == sum(kept)
    assert small != kept
    script.images.cache_clear()
