"""Every tutorial is a plain script: it runs headless, warns of nothing, and asserts its own claims."""

import csv
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import refprune as rp

pytest.importorskip("matplotlib", reason="the tutorials draw with matplotlib")
pytest.importorskip("sklearn", reason="the tutorials read the digits of scikit-learn")
pytest.importorskip("autograd", reason="the tutorials compare derivatives with autograd's")

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = sorted((ROOT / "tutorials").glob("plot_*.py"))


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_runs_as_a_script(script, tmp_path):
    # plt.show() says that there is no screen; nothing else may warn
    quiet = ["-W", "error", "-W", "ignore:FigureCanvasAgg is non-interactive"]
    done = subprocess.run(
        [sys.executable, *quiet, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,  # they take at most 20 s on two cores; the rest is for a busy machine
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    left = {path.name for path in tmp_path.iterdir()} - {".hypothesis"}
    assert not left, "a tutorial leaves no files behind"


def test_there_are_tutorials():
    assert len(TUTORIALS) >= 10


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_asserts_and_has_an_exercise(script):
    text = script.read_text()
    assert len(re.findall(r"^assert ", text, flags=re.MULTILINE)) >= 3
    assert "# Break it\n" in text
    assert "# Exercise\n" in text


LARGE = ROOT / "tutorials" / "fashion_mnist.py"  # it trains, so it is no page of the gallery


@pytest.fixture(scope="module")
def large():
    """The script of the larger example as a module."""
    spec = importlib.util.spec_from_file_location("fashion_mnist", LARGE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_larger_example_says_so_where_its_data_are_absent(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(LARGE), "--data", str(tmp_path), "--csv", "table.csv"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith("nothing done: need the file train-images-idx3-ubyte")
    assert "dataset-fashion-mnist" in line
    assert not list(tmp_path.iterdir())


def test_the_larger_example_on_a_few_made_up_images(large, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 120)
    x = (rng.random((120, 1, 28, 28)) / 2).astype("float32")
    x[np.arange(120), 0, 2 * y + 3, :] = 1  # a bright line tells the class
    data = rp.datasets.FashionMNIST(x[:80], y[:80], x[80:], y[80:])
    monkeypatch.setattr(large, "METHODS", {name: large.METHODS[name] for name in ("magnitude", "ExactOBS")})
    monkeypatch.setattr(large, "FLOOR", 0)
    monkeypatch.setattr(rp.datasets, "fashion_mnist", lambda path: data)
    where = ["--network", str(tmp_path / "folder/net.npz"), "--csv", str(tmp_path / "table.csv")]
    assert large.main(where) == 0
    assert capsys.readouterr().out.startswith("trained on 80 images in ")
    with (tmp_path / "table.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    zeros = {(pattern, method): share for pattern, method, share, *_ in lines[1:]}
    assert zeros["dense", ""] == "0.0"
    assert len(zeros) == len(lines) - 1 == 1 + 6 * 2
    # 20,424 weights; the 200 of the first convolution stay in 2:4
    assert zeros["2:4", "magnitude"] == zeros["2:4", "ExactOBS"] == f"{100 * (20424 - 200) / 2 / 20424:.1f}"
    for pattern in ("50 %", "80 %", "90 %", "80 %, global", "90 %, global"):
        assert zeros[pattern, "magnitude"] == zeros[pattern, "ExactOBS"] == f"{pattern[:2]}.0"
    assert large.main(where) == 0
    assert capsys.readouterr().out.startswith("pattern"), "the network is read, not trained again"
