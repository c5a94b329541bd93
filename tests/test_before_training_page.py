"""What the page on pruning before training says: its table bears out its text, and its script measures what it says."""

import csv
import importlib
from pathlib import Path

import numpy as np
import pytest

import refprune as rp
from refprune.demo import digits

pytest.importorskip("sklearn", reason="the script reads the digits of scikit-learn")

PAGES = Path(__file__).resolve().parents[1] / "docs"
SHARES = ("80%", "90%", "95%", "98%")
LAST = "fewest in a layer at 98%"


@pytest.fixture(scope="module")
def table():
    """(name, share) -> (mean, spread) in percent; (name, LAST) -> a count."""
    found = {}
    with (PAGES / "before_training.csv").open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            name = line.pop("chosen by")
            for share in SHARES:
                mean, spread = (float(part.rstrip("%")) for part in line[share].split(" ± "))
                found[name, share] = mean, spread
            found[name, LAST] = int(line[LAST] or -1)
    return found


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


def test_the_divided_outputs_of_the_script(script):
    data = digits.load()
    x, y, pattern = data.train_x[:200], data.train_y[:200], rp.Unstructured(sparsity=0.9)
    params = script.NETWORK.init(np.random.default_rng(0))
    plain = rp.grasp(script.NETWORK, params, (x, y), pattern).mask
    once, divided = (script.tempered(params, x, y, pattern, number) for number in (1, 200))
    for name, mask in plain.items():
        assert np.mean(mask == once[name]) > 0.9999, "with 1 it is GraSP, but for rounding"
    assert sum(int(mask.sum()) for mask in divided.values()) == sum(
        int(mask.sum()) for mask in plain.values()
    )
    assert any((divided[name] != mask).mean() > 0.01 for name, mask in plain.items())


def test_the_lines_of_the_script(script, monkeypatch, table):
    assert [*script.CHOICES] == [name for name, column in table if column == LAST][1:]
    masks = {"SNIP": None, "SNIP, shuffled": None}
    data, rng = digits.load(), np.random.default_rng(0)
    params = script.NETWORK.init(rng)
    for name in masks:
        given = (params, data.train_x[:200], data.train_y[:200], rp.Unstructured(sparsity=0.9), rng)
        masks[name] = script.CHOICES[name](*given)
    for plain, mixed in zip(*(own.values() for own in masks.values()), strict=True):
        assert plain.sum() == mixed.sum()
        assert not np.array_equal(plain, mixed)

    monkeypatch.setattr(script, "SEEDS", range(2))
    monkeypatch.setattr(script, "TRAINING", script.TRAINING | {"epochs": 2})
    monkeypatch.setattr(
        script, "CHOICES", {name: script.CHOICES[name] for name in ("random", "ProsPr, 1 step")}
    )
    head, *lines = script.lines()
    assert head == ("chosen by", *SHARES, LAST)
    assert [line[0] for line in lines] == ["nothing pruned", "random", "ProsPr, 1 step"]
    assert all(len(line) == len(head) for line in lines)
