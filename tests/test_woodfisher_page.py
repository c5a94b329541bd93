"""What the page on WoodFisher says: its tables bear out its text, and its script does what it says."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest

import refprune as rp

PAGES = Path(__file__).resolve().parents[1] / "docs"
PERCENT = [50, 60, 70, 80, 90, 95, 98]


def rows(name):
    """(head, first cell -> the others) of a table."""
    with (PAGES / name).open() as file:
        head, *lines = csv.reader(file)
    return head, {first: cells for first, *cells in lines}


def numbers(cell):
    """(mean, spread)."""
    return tuple(map(float, [*cell.split(" ± "), "0"][:2]))


@pytest.fixture(scope="module")
def table():
    """Method -> sparsity in percent -> (mean, spread) of the accuracy."""
    head, lines = rows("woodfisher.csv")
    assert head[1:] == [f"{p} %" for p in PERCENT]
    return {name: dict(zip(PERCENT, map(numbers, cells), strict=True)) for name, cells in lines.items()}


def above(better, worse, percents):
    """By more than both spreads, at all of these sparsities."""
    return all(better[p][0] - better[p][1] > worse[p][0] + worse[p][1] for p in percents)


def test_the_first_table_bears_out_the_text(table):
    dense, magnitude = table["dense (Fashion-MNIST)"], table["magnitude"]
    total, joint, swaps = table["WoodFisher, sum"], table["WoodFisher, joint"], table["joint, swaps"]
    exact, staged = table["ExactOBS"], table["joint, 10 stages"]
    first = table["joint, 10 stages, first order"]
    assert dense[50][0] > 86.5
    assert above(total, magnitude, [80, 90, 95, 98])
    assert above(joint, total, [80, 90, 95])
    assert 0 < joint[98][0] - total[98][0] < joint[98][1]
    for one_shot in (magnitude, total, joint, table["joint, CHITA's search"], swaps):
        assert above(exact, one_shot, [90, 95, 98])
        assert exact[98][0] > one_shot[98][0] + 27
    assert above(staged, joint, [90, 95, 98])
    assert staged[98][0] > joint[98][0] + 20
    assert above(first, staged, [98])
    assert first[95] > staged[95]
    assert above(staged, first, PERCENT[:5])
    for p in (90, 95, 98):
        assert abs(table["joint, CHITA's search"][p][0] - joint[p][0]) < 1
        assert 0 < swaps[p][0] - joint[p][0] < swaps[p][1] + joint[p][1]


def test_the_first_table_bears_out_what_is_said_of_readjusting(table):
    found = {
        name: (table[name], table[f"{name}, readjusted"]) for name in table if f"{name}, readjusted" in table
    }
    assert len(found) == 4
    gains = {
        name: {p: round(new[p][0] - old[p][0], 1) for p in PERCENT} for name, (old, new) in found.items()
    }
    assert max(abs(gains["ExactOBS"][p]) for p in PERCENT[:-1]) <= 0.1
    for name, points in (("ExactOBS", 2), ("joint, swaps", 25), ("joint, 10 stages", 7)):
        assert round(gains[name][98]) == points
        assert above(*found[name][::-1], [98])
        assert min(gains[name].values()) >= -0.1
    first = gains["joint, 10 stages, first order"]
    assert min(first[p] for p in PERCENT[:5]) > 0 > first[95]


def test_the_second_table_bears_out_the_text():
    head, lines = rows("woodfisher_why.csv")
    assert head[1:] == ["loss, 95 %", "accuracy, 95 %", "loss, 98 %", "accuracy, 98 %"]
    loss = {name: (float(cells[0]), float(cells[2])) for name, cells in lines.items()}
    score = {name: (numbers(cells[1])[0], numbers(cells[3])[0]) for name, cells in lines.items()}
    for update, most in (("joint", 8), ("sum", 3)):
        for at in (0, 1):
            values = [
                seen[at]
                for name, seen in score.items()
                if name.startswith(f"{update}, damp") and "," not in name[12:]
            ]
            assert len(values) == 4
            assert max(values) - min(values) <= most
    one, more = score["joint, damp 0.0001"], score["joint, damp 0.0001, 2000 images"]
    assert round(more[0] - one[0]) == 5
    assert abs(more[1] - one[1]) < 2
    assert np.allclose(score["joint, damp 0.0001, the count of the published code"], one, atol=0.11)
    assert [round(score[f"joint, {n} stages"][1]) for n in (2, 5)] == [41, 59]
    share, own, counts = (
        score[f"ExactOBS, {what}"]
        for what in ("the same share everywhere", "one budget", "the counts of joint")
    )
    assert all(a + 15 < b for a, b in zip(share, one, strict=True))
    assert own[1] + 1 < counts[1]
    assert loss["ExactOBS, the counts of joint"][1] < loss["ExactOBS, one budget"][1]
    old, new = score["ExactOBS, 2000 images"], score["ExactOBS, readjusted, 2000 images"]
    assert new[0] > old[0]
    assert new[1] > old[1] + 2


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_woodfisher", PAGES / "make_woodfisher.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tiny(script):
    """A task that takes no time."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)), rng.integers(3, size=40)
    network = rp.mlp([6, 8, 5, 3], bias=False)
    params = rp.train(network, network.init(rng), x, y, epochs=5)
    return script.Task(network, params, x[:30], y[:30], x[30:], y[30:], 0.4)


@pytest.mark.parametrize(("of", "name"), [("methods", "woodfisher.csv"), ("reasons", "woodfisher_why.csv")])
def test_the_script_has_the_lines_of_the_table_and_prunes_what_it_should(script, of, name):
    task = tiny(script)
    found = dict(getattr(script, of)(task))
    _, lines = rows(name)
    assert [*found] == [line for line in lines if not line.startswith("dense")]
    for line, params in found.items():
        zeros = sum(int((w == 0).sum()) for w in params.values())
        assert zeros == 41 + line.endswith("published code"), line


def idx(path, array):
    """An IDX file of bytes."""
    lengths = b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + lengths + array.astype("u1").tobytes())


@pytest.mark.parametrize("spelled", ["{}-{}-ubyte", "{}.{}-ubyte"])
def test_the_script_reads_mnist_where_its_files_are(script, tmp_path, spelled):
    rng = np.random.default_rng(0)
    for part, n in (("train", 5), ("t10k", 3)):
        idx(tmp_path / spelled.format(f"{part}-images", "idx3"), rng.integers(256, size=(n, 28, 28)))
        idx(tmp_path / spelled.format(f"{part}-labels", "idx1"), np.arange(n))
    name, x, y, test, test_y = script.images(str(tmp_path))
    assert (name, x.shape, test.shape) == ("MNIST", (5, 784), (3, 784))
    assert y.tolist() == [0, 1, 2, 3, 4]
    assert test_y.tolist() == [0, 1, 2]
    assert abs(x.mean()) < 1e-5
    assert abs(x.std() - 1) < 1e-5


def test_the_script_takes_fashion_mnist_next_and_then_digits(script, tmp_path):
    with pytest.raises(FileNotFoundError, match="dataset-fashion-mnist"):
        script.images(None, str(tmp_path))  # the folder is there, so it is asked
    name, x, _, test, _ = script.images(None, str(tmp_path / "none"))
    assert (name, x.shape, test.shape) == ("digits", (1297, 784), (500, 784))


def test_the_script_takes_no_other_data_than_those_asked_for(script, tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        script.images(str(tmp_path))
