"""Files of networks: every bit comes back, nothing is pickled, and what is no such file is named."""

import json
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from refprune.network import Conv2d, Dense, Network
from refprune.network.presets import cnn, mlp, resnet20
from refprune.network.saving import load, save
from refprune.testing import networks


def bits(array):
    return array.dtype.str, array.shape, array.tobytes()


@given(st.integers(0, 2**32 - 1), st.sampled_from(["float32", "float64"]))
def test_generated_networks_come_back_bit_for_bit(tmp_path_factory, seed, dtype):
    rng = np.random.default_rng(seed)
    problem = networks.problem(rng, dtype=dtype)
    network = Network.from_dicts(problem["layers"])
    params = problem["params"]
    masks = {name: rng.random(network.shapes[name]) < 0.5 for name in network.prunable[:2]}
    path = tmp_path_factory.mktemp("files") / "network.npz"
    save(path, network, params, masks)
    again, found, kept = load(path)
    assert again.to_dicts() == network.to_dicts()
    assert again.layers == network.layers
    assert list(found) == list(params)
    assert {name: bits(value) for name, value in found.items()} == {n: bits(v) for n, v in params.items()}
    assert {name: bits(value) for name, value in (kept or {}).items()} == {
        n: bits(v) for n, v in masks.items()
    }
    assert_array_equal(again.forward(found, problem["x"]), network.forward(params, problem["x"]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f8"])
def test_strange_numbers_and_orders_of_bytes(tmp_path, dtype):
    network = Network([Dense(3, 2)])
    smallest = np.finfo(dtype).smallest_subnormal
    weight = np.array([[np.nan, -np.inf, -0.0], [smallest, 1 / 3, np.finfo(dtype).max]], dtype=dtype)
    params = {"0.weight": np.asfortranarray(weight), "0.bias": np.ones(4, dtype=dtype)[::2]}
    save(tmp_path / "a.npz", network, params)
    _, found, masks = load(tmp_path / "a.npz")
    assert bits(np.ascontiguousarray(found["0.weight"])) == bits(weight)
    assert_array_equal(found["0.bias"], [1, 1])
    assert masks is None


def test_equal_arguments_give_equal_files(tmp_path):
    network = cnn((1, 6, 6), [2], 3)
    params = network.init(np.random.default_rng(0))
    for name in "ab":
        save(tmp_path / name, network, params)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()  # and no ending was added


def test_a_file_is_replaced_and_numpy_opens_it(tmp_path):
    path = str(tmp_path / "network.npz")
    for seed in (0, 1):
        network = mlp([2, 2])
        params = network.init(np.random.default_rng(seed))
        save(path, network, params)
    assert_array_equal(load(path)[1]["0.weight"], params["0.weight"])
    with np.load(path, allow_pickle=False) as archive:
        assert archive.files == ["header", "params/0.weight", "params/0.bias"]
        assert json.loads(str(archive["header"]))["layers"] == network.to_dicts()


def test_running_statistics_and_residuals_are_kept(tmp_path):
    network = resnet20(3)
    params = network.init(np.random.default_rng(0), dtype="float32")
    save(tmp_path / "r.npz", network, params)
    again, found, _ = load(tmp_path / "r.npz")
    assert again.layers == network.layers
    assert set(found) == set(network.shapes) | set(network.constants)
    assert "9.shortcut.1.running_var" in found


def test_other_arrays_are_moved(cupy_like, tmp_path):
    network = Network([Conv2d(1, 2, 2), Dense(1, 1)])
    params = network.init(np.random.default_rng(0), dtype=cupy_like.dtype)
    there = {name: cupy_like.asarray(value) for name, value in params.items()}
    mask = np.array([True, False] * 4).reshape(2, 1, 2, 2)
    save(tmp_path / "n.npz", network, there, {"0.weight": cupy_like.asarray(mask)})
    _, found, masks = load(tmp_path / "n.npz")
    assert {name: bits(value) for name, value in found.items()} == {n: bits(v) for n, v in params.items()}
    assert_array_equal(masks["0.weight"], mask)


def saved(tmp_path):
    network = mlp([2, 3, 1])
    path = tmp_path / "good.npz"
    save(path, network, network.init(np.random.default_rng(0)), {"0.weight": np.ones((3, 2), bool)})
    return path


def rewritten(path, change):
    """The file with its entries changed by `change(entries)`."""
    with np.load(path) as archive:
        entries = {name: archive[name] for name in archive.files}
    change(entries)
    other = path.with_name("changed.npz")
    np.savez(other, **entries)
    return other


def header(**changes):
    def change(entries):
        entries["header"] = np.array(json.dumps(json.loads(str(entries["header"])) | changes))

    return change


def entry(name, value):
    return lambda entries: entries.update({name: value})


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the file was unpickled",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: entries.pop("header"), "it has no header"),
        (entry("header", np.array("{}")), "its header is of another format"),
        (entry("header", np.array("[1]")), "its header is of another format"),
        (entry("header", np.array("{")), "Expecting property name"),
        (header(version=2), "need version 1 of the format; got 2"),
        (header(layers=[{"type": "lstm"}]), "need a type of dense, .* for layer 0; got 'lstm'"),
        (header(layers=None), "need a list of layers; got NoneType"),
        (lambda entries: entries.pop("params/2.bias"), r"missing \['2.bias'\]"),
        (entry("params/9.bias", np.ones(2)), r"unknown \['9.bias'\]"),
        (entry("params/2.bias", np.ones(2)), r"need params\['2.bias'\] of shape \(1,\); got \(2,\)"),
        (entry("params/2.bias", np.ones(1, int)), r"need params\['2.bias'\] in float16, .*; got int64"),
        (entry("masks/0.bias", np.ones(3, bool)), "need masks for 0.weight, 2.weight; got '0.bias'"),
        (entry("masks/0.weight", np.ones((3, 2))), "need a boolean array masks"),
        (entry("other", np.ones(2)), "need entries params/... and masks/...; got 'other'"),
        (entry("params/2.bias", np.array([Bomb()], dtype=object)), "allow_pickle=False"),
    ],
)
def test_changed_files_are_named(tmp_path, change, message):
    path = rewritten(saved(tmp_path), change)
    with pytest.raises(
        ValueError, match=f"need a file that refprune.save wrote; got .*changed.npz: .*{message}"
    ):
        load(path)


def test_damaged_and_other_files_are_named(tmp_path):
    good = saved(tmp_path).read_bytes()
    flipped = bytearray(good)
    flipped[good.index(b"params/0.weight.npy") + 200] ^= 1  # in the numbers: the checksum finds it
    files = {
        "short": good[:-30],
        "flipped": bytes(flipped),
        "empty": b"",
        "text": b"layers",
        "pickle": pickle.dumps(Bomb()),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"need a file that refprune.save wrote; got .*{name}: "):
            load(tmp_path / name)
    np.save(tmp_path / "array.npy", np.ones(3))
    with pytest.raises(ValueError, match="it is no NumPy archive"):
        load(tmp_path / "array.npy")
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(ValueError, match="it has no header"):
        load(tmp_path / "plain.zip")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing.npz")
    with pytest.raises(IsADirectoryError):
        load(tmp_path)


def test_wrong_arguments_leave_the_file_alone(tmp_path):
    path = saved(tmp_path)
    before = path.read_bytes()
    network = mlp([2, 2])
    params = network.init(np.random.default_rng(0))
    for arguments, error, message in (
        (([Dense(2, 2)], params), TypeError, "need network to be a Network; got list"),
        ((network, list(params)), TypeError, "need params to be a dict of arrays; got list"),
        ((network, {"0.weight": params["0.weight"]}), ValueError, r"missing \['0.bias'\]"),
        ((network, params | {"0.bias": np.ones(3)}), ValueError, r"of shape \(2,\); got \(3,\)"),
        ((network, params | {"0.bias": [1.0, 2.0]}), TypeError, "need params.* to be an array"),
        (
            (network, params | {"0.bias": np.ones(2, int)}),
            TypeError,
            "in float16, float32, float64; got int64",
        ),
        ((network, params | {"0.bias": np.ones(2, object)}), TypeError, "got object"),
        ((network, params, {"0.weight": np.ones((2, 2))}), TypeError, "need a boolean array"),
        ((network, params, {"0.bias": np.ones(2, bool)}), ValueError, "need masks for 0.weight"),
    ):
        with pytest.raises(error, match=message):
            save(path, *arguments)
        assert path.read_bytes() == before
    with pytest.raises(FileNotFoundError):
        save(tmp_path / "no" / "folder.npz", network, params)
