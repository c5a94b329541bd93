"""Data sets that lie on this computer: IDX files, the format of MNIST, and Fashion-MNIST. Nothing is downloaded."""

import gzip
import hashlib
import os
import zlib
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["FashionMNIST", "fashion_mnist", "read_idx"]

# What an IDX file may hold, by the third byte of its magic number; numbers are big-endian.
KINDS = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}

FOLDER = "/usr/share/datasets/fashion-mnist"  # of the Debian package
PACKAGE = "dataset-fashion-mnist"

# The files and the SHA-256 of their unpacked bytes.
FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


class FashionMNIST(NamedTuple):
    """Grey images of clothes, 28 x 28, from 0 (black) to 1, and their labels 0 to 9.

    `train_x` (60000, 1, 28, 28) and `train_y` (60000,); `test_x` (10000, 1, 28, 28) and `test_y` (10000,).
    """

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def read_idx(path: str | os.PathLike, sha256: str | None = None) -> np.ndarray:
    """Read an IDX file, plain or packed by gzip, as a NumPy array.

    Parameters
    ----------
    path : str or path
        The file. Whether it is packed is seen from its first bytes, not from its name.
    sha256 : str, optional
        The SHA-256 of the unpacked bytes in hexadecimal; checked where it is given.

    Returns
    -------
    numpy.ndarray
        In the shape and the dtype that the file states, in the byte order of this computer.

    Raises
    ------
    OSError
        The file cannot be read; FileNotFoundError where there is none.
    ValueError
        It is no IDX file, has too few or too many bytes, is damaged, or has another checksum.

    Notes
    -----
    Two zero bytes, one for the kind of the numbers, one for the number of dimensions; the length of every
    dimension in four bytes; then the numbers in C order. All are big-endian. Source: Y. LeCun, C. Cortes and
    C. Burges, the MNIST database of handwritten digits, "file formats".

    Examples
    --------
    >>> import os, tempfile
    >>> import refprune as rp
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "three-labels")
    ...     with open(path, "wb") as file:
    ...         _ = file.write(bytes([0, 0, 0x08, 1, 0, 0, 0, 3, 7, 0, 2]))
    ...     rp.datasets.read_idx(path)
    array([7, 0, 2], dtype=uint8)
    """
    data = Path(path).read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"need a whole gzip file; got {os.fspath(path)}: {error}") from error
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise ValueError(f"need SHA-256 {sha256}; got {found} for {os.fspath(path)}: the file is another one")
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in KINDS:
        raise ValueError(
            f"need an IDX file; got {os.fspath(path)}, which begins with {data[:4].hex() or 'nothing'}"
        )
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise ValueError(f"need {data[3]} lengths in {os.fspath(path)}; got {len(data)} bytes in all")
    shape = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4))
    dtype = np.dtype(KINDS[data[2]])
    need = start + prod(shape) * dtype.itemsize
    if len(data) != need:
        raise ValueError(f"need {need} bytes for shape {shape} in {os.fspath(path)}; got {len(data)}")
    return np.frombuffer(data, dtype.newbyteorder(">"), offset=start).reshape(shape).astype(dtype)


def fashion_mnist(path: str | os.PathLike = FOLDER, dtype: str = "float32") -> FashionMNIST:
    """Read Fashion-MNIST: 60,000 images to train on and 10,000 to test on, in ten classes of 7,000 each.

    Parameters
    ----------
    path : str or path
        The folder of the four files, plain or with the ending ``.gz``; by default where the Debian package
        ``dataset-fashion-mnist`` puts them.
    dtype : str
        ``"float32"`` or ``"float64"``, of the images: the bytes over 255.

    Returns
    -------
    FashionMNIST
        `train_x`, `train_y`, `test_x`, `test_y`; labels are int64.

    Raises
    ------
    ValueError
        Another dtype; a file that is not the one of Fashion-MNIST, by its SHA-256.
    FileNotFoundError
        A file is not there. The message names the package.

    Notes
    -----
    The images take 220 MB in float32. Source: H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST: a novel image
    dataset for benchmarking machine learning algorithms, 2017.

    Examples
    --------
    >>> import refprune as rp
    >>> rp.datasets.fashion_mnist("there is no such folder")
    Traceback (most recent call last):
        ...
    FileNotFoundError: need the file train-images-idx3-ubyte or train-images-idx3-ubyte.gz in ...
    """
    if dtype not in ("float32", "float64"):
        raise ValueError(f"need dtype float32 or float64; got {dtype!r}")
    places = [_place(Path(path), name) for name in FILES]
    train_x, train_y, test_x, test_y = map(read_idx, places, FILES.values())
    return FashionMNIST(
        _images(train_x, dtype), train_y.astype(np.int64), _images(test_x, dtype), test_y.astype(np.int64)
    )


def _images(array, dtype):
    """Bytes (n, height, width) as images (n, 1, height, width) from 0 to 1."""
    return array[:, None].astype(dtype) / np.asarray(255, dtype)


def _place(folder, name):
    """The plain file of this name, or else the packed one."""
    for place in (folder / name, folder / f"{name}.gz"):
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"need the file {name} or {name}.gz in {folder}; got neither: "
        f"install the Debian package {PACKAGE}, or give the folder as path="
    )
