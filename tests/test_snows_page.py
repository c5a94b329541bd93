"""What the page on SNOWS says: its table bears out its text, and its script measures what it says."""

import csv
import importlib
from pathlib import Path

import pytest

import refprune as rp

PAGES = Path(__file__).resolve().parents[1] / "docs"


def lines(name="snows.csv"):
    with (PAGES / name).open() as file:
        return list(csv.DictReader(file))


def share(line, column):
    return float(line[column].removesuffix("%"))


@pytest.mark.parametrize("network", ["MLP 64-48-32-10", "CNN 1-8-16-10"])
def test_errors_and_accuracies(network):
    found = {(line["mask"], line["horizon"]): line for line in lines() if line["network"] == network}
    assert len(found) == 9
    for mask in ("magnitude", "ExactOBS"):
        before, here, further, whole = (found[mask, horizon] for horizon in ("", "0", "2", "all"))
        for column in ("error", "error on other images"):
            assert share(whole, column) <= 0.7 * share(before, column), "30 % less"
            assert share(whole, column) < share(here, column), "the page says: less than least squares"
            assert share(further, column) < share(here, column)
        if mask == "ExactOBS":
            for line in (further, whole):
                assert share(line, "error") <= 0.64 * share(before, "error")
                assert share(line, "error on other images") <= 0.69 * share(before, "error on other images")
        slack = 2 * max(share(before, "standard error"), share(whole, "standard error"))
        assert share(whole, "accuracy") >= share(before, "accuracy") - slack


@pytest.mark.parametrize("network", ["MLP 64-48-32-10", "CNN 1-8-16-10"])
def test_more_images_fit_others_better_and_damping_hardly_matters(network):
    found = {
        (int(line["images"]), float(line["damp"])): line
        for line in lines("snows_fits.csv")
        if line["network"] == network
    }
    few, some, many = (found[n, 1e-4] for n in (100, 200, 400))
    assert share(few, "error after") < share(some, "error after") < share(many, "error after")
    assert share(few, "on others after") > share(some, "on others after") > share(many, "on others after")
    for line in found.values():
        assert share(line, "error after") < share(line, "error before")
        assert share(line, "on others after") < share(line, "on others before")
    for column in ("error after", "on others after"):
        without, much = share(found[400, 0], column), share(found[400, 1], column)
        assert abs(without - much) <= 0.1, "the page says: hardly differ"
    more = {"MLP 64-48-32-10": "38 % higher for the MLP", "CNN 1-8-16-10": "19 % for the CNN"}[network]
    assert more.startswith(f"{share(few, 'on others after') / share(many, 'on others after') - 1:.0%}"[:-1])
    assert more in (PAGES / "snows.rst").read_text()
    whole = next(
        line
        for line in lines()
        if (line["network"], line["mask"], line["horizon"]) == (network, "ExactOBS", "all")
    )
    assert (whole["error"], whole["error on other images"]) == (many["error after"], many["on others after"])


def test_the_script(monkeypatch):
    monkeypatch.syspath_prepend(str(PAGES))
    script = importlib.import_module("make_snows")
    fits = script.FITS
    monkeypatch.setattr(script, "SAMPLES", 60)
    monkeypatch.setattr(script, "HORIZONS", (None,))
    monkeypatch.setattr(script, "SOLVER", {"max_iter": 1, "cg_max_iter": 5})
    train = rp.train
    monkeypatch.setattr(
        script.rp, "train", lambda *given, **options: train(*given, **(options | {"epochs": 2}))
    )
    name = next(iter(script.networks()))
    found = script.readings(name, 0)
    assert found["dense", ""][:2] == (0.0, 0.0)
    for method in script.METHODS:
        assert found[method, "all"][0] < found[method, ""][0]
    assert {line["network"] for line in lines()} == set(script.networks())
    monkeypatch.setattr(script, "FITS", ((60, 0.0),))
    ((before, after, *others),) = script.fits(name, 0)
    assert (before, after) == (found["ExactOBS", ""][0], found["ExactOBS", "all"][0])
    assert others == [found["ExactOBS", ""][1], found["ExactOBS", "all"][1]]
    told = [(int(line["images"]), float(line["damp"])) for line in lines("snows_fits.csv")]
    assert told == [*fits, *fits]
