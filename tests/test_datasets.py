"""IDX files come back bit for bit, written here without NumPy; every damage is told; Fashion-MNIST where it is."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from refprune import datasets

# The letters of `struct` for the numbers of each kind: the tests write files without NumPy.
LETTERS = {"uint8": (8, "B"), "int8": (9, "b"), "int16": (11, "h"), "int32": (12, "i"), "float32": (13, "f")}
LETTERS["float64"] = (14, "d")


def idx(array):
    """The bytes of an IDX file."""
    kind, letter = LETTERS[array.dtype.name]
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    return head + struct.pack(f">{array.size}{letter}", *array.ravel().tolist())


def numbers(dtype, shape=(2, 3, 5)):
    """Numbers that differ in all their bytes, so that a wrong order of bytes or axes shows."""
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    bounds = np.iinfo(dtype)
    return rng.integers(bounds.min, bounds.max, size=shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("dtype", LETTERS)
def test_every_kind_comes_back(tmp_path, dtype, packed):
    array, path = numbers(dtype), tmp_path / "any name"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    found = datasets.read_idx(path)
    assert found.dtype == array.dtype
    assert found.dtype.isnative
    assert np.array_equal(found, array)
    found[...] = 0  # the array is the caller's own


@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (3, 0, 2), (2, 1, 1, 3)])
def test_every_shape_comes_back(tmp_path, shape):
    array, path = numbers("int16", shape), tmp_path / "file"
    path.write_bytes(idx(array))
    found = datasets.read_idx(str(path))
    assert found.shape == shape
    assert np.array_equal(found, array)


WHOLE = idx(numbers("uint8"))  # 4 + 12 + 30 bytes
PACKED = gzip.compress(WHOLE)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "need an IDX file; got .*, which begins with nothing"),
        (b"\0\0\x08", "need an IDX file; got .*, which begins with 000008"),
        (b"\1" + WHOLE[1:], "need an IDX file; got .*, which begins with 01000803"),
        (b"\0\0\x0a" + WHOLE[3:], "need an IDX file; got .*, which begins with 00000a03"),
        (WHOLE[:15], "need 3 lengths in .*; got 15 bytes in all"),
        (WHOLE[:-1], r"need 46 bytes for shape \(2, 3, 5\) in .*; got 45"),
        (WHOLE + b"\0", r"need 46 bytes for shape \(2, 3, 5\) in .*; got 47"),
        (PACKED[:-9], "need a whole gzip file"),
        (PACKED[:-8] + b"\0" * 8, "need a whole gzip file"),
        (b"\x1f\x8b" + WHOLE, "need a whole gzip file"),
        (PACKED[:10] + b"\xff" * 30, "need a whole gzip file"),
    ],
    ids=[
        "empty",
        "three bytes",
        "no zeros",
        "unknown kind",
        "no last length",
        "one byte less",
        "one byte more",
        "cut",
        "wrong sum",
        "no gzip",
        "bad stream",
    ],
)
def test_damage_is_told(tmp_path, data, message):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        datasets.read_idx(path)


def test_the_checksum_is_that_of_the_unpacked_bytes(tmp_path):
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.write_bytes(WHOLE)
    packed.write_bytes(gzip.compress(WHOLE))
    right = hashlib.sha256(WHOLE).hexdigest()
    for path in (plain, packed):
        assert datasets.read_idx(path, right).shape == (2, 3, 5)
        assert datasets.read_idx(path, right.upper()).shape == (2, 3, 5)
        with pytest.raises(ValueError, match=f"need SHA-256 {'0' * 64}; got {right} for"):
            datasets.read_idx(path, "0" * 64)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        datasets.read_idx(tmp_path / "none")


PIXELS = numbers("uint8", (5, 28, 28))


def small(folder, monkeypatch, packed=()):
    """Five images to train on and three to test on, with checksums of their own."""
    arrays = PIXELS, np.arange(5, dtype="uint8"), PIXELS[::-2], np.array([9, 0, 4], "uint8")
    for name, array in zip(tuple(datasets.FILES), arrays):
        data = idx(array)
        monkeypatch.setitem(datasets.FILES, name, hashlib.sha256(data).hexdigest())
        if name in packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_images_and_labels(tmp_path, monkeypatch, dtype):
    small(tmp_path, monkeypatch, packed=["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
    data = datasets.fashion_mnist(tmp_path, dtype)
    assert data.train_x.shape == (5, 1, 28, 28)
    assert data.train_x.dtype == data.test_x.dtype == dtype
    assert data.train_y.dtype == data.test_y.dtype == np.int64
    # one rounding of the quotient
    exact = [[[float(pixel) / 255.0 for pixel in line] for line in image] for image in PIXELS.tolist()]
    assert np.array_equal(data.train_x[:, 0], np.array(exact).astype(dtype))
    assert np.array_equal(data.test_x, data.train_x[::-2])
    assert data.train_y.tolist() == [0, 1, 2, 3, 4]
    assert data.test_y.tolist() == [9, 0, 4]


def test_files_in_each_other_s_place_are_told(tmp_path, monkeypatch):
    small(tmp_path, monkeypatch)
    (tmp_path / "t10k-images-idx3-ubyte").rename(tmp_path / "train-images-idx3-ubyte")
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(PIXELS))
    with pytest.raises(
        ValueError, match=r"need SHA-256 .* for .*train-images-idx3-ubyte: the file is another one"
    ):
        datasets.fashion_mnist(tmp_path)


def test_absent_data_name_the_package_before_anything_is_read(tmp_path, monkeypatch):
    small(tmp_path, monkeypatch)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    monkeypatch.setattr(datasets, "read_idx", None)  # not callable
    with pytest.raises(
        FileNotFoundError, match=r"need the file t10k-labels-idx1-ubyte or .*dataset-fashion-mnist"
    ):
        datasets.fashion_mnist(tmp_path)


def test_an_unknown_dtype_comes_first(tmp_path):
    with pytest.raises(ValueError, match="need dtype float32 or float64; got 'uint8'"):
        datasets.fashion_mnist(tmp_path, dtype="uint8")


@pytest.mark.skipif(
    not Path(datasets.FOLDER).is_dir(), reason=f"the package {datasets.PACKAGE} is not installed"
)
def test_the_real_data():
    data = datasets.fashion_mnist()
    assert data.train_x.shape == (60000, 1, 28, 28)
    assert data.test_x.shape == (10000, 1, 28, 28)
    assert np.bincount(data.train_y).tolist() == [6000] * 10
    assert np.bincount(data.test_y).tolist() == [1000] * 10
    assert (data.train_x.min(), data.train_x.max()) == (0.0, 1.0)
