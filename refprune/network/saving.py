"""A network in one file: `.npz` with the layers as JSON text, the parameters and the masks; no pickle either way."""

import json
import os
import zipfile
import zlib

import numpy as np

from refprune.arrays import dtype_name, library, to_numpy

from .network import Network
from .training import checked_masks

FORMAT, VERSION = "refprune network", 1
DTYPES = ("float16", "float32", "float64")


def save(path: str | os.PathLike, network: Network, params: dict, masks: dict | None = None) -> None:
    """Write a network, its parameters and its masks to one file; a file that is there is replaced.

    Parameters
    ----------
    path : str or path
        The file, by convention with the ending ``.npz``; no ending is added.
    network : Network
    params : dict of arrays
        All parameters, running statistics included, float16, float32 or float64. Arrays of other libraries
        are moved to NumPy.
    masks : dict of boolean arrays, optional
        By the name of the weight, True = kept.

    Raises
    ------
    TypeError, ValueError
        Before the file is touched: names, shapes or dtypes that do not fit the network; a mask for what is no
        weight of a Dense or Conv2d.
    OSError
        The file cannot be written.

    Notes
    -----
    The file is a NumPy archive (`numpy.load` opens it) of ``header``, a JSON text with the plain-data form of
    the layers, and of ``params/<name>`` and ``masks/<name>``. Every bit of an array is kept, NaN and Inf too.
    Equal arguments give equal files.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import refprune as rp
    >>> network = rp.mlp([2, 3, 1])
    >>> params = network.init(np.random.default_rng(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "small.npz")
    ...     rp.save(path, network, params, masks={"0.weight": params["0.weight"] > 0})
    ...     again, found, masks = rp.load(path)
    >>> again
    Network([Dense(inputs=2, outputs=3, bias=True), ReLU(), Dense(inputs=3, outputs=1, bias=True)])
    >>> bool((found["0.weight"] == params["0.weight"]).all()), list(masks)
    (True, ['0.weight'])
    """
    if not isinstance(network, Network):
        raise TypeError(f"need network to be a Network; got {type(network).__name__}")
    masks = checked_masks(network, {} if masks is None else masks)
    _fits(network, params)
    header = {"format": FORMAT, "version": VERSION, "layers": network.to_dicts()}
    entries = {"header": np.array(json.dumps(header))}
    entries |= {f"params/{name}": to_numpy(value) for name, value in params.items()}
    entries |= {f"masks/{name}": to_numpy(mask) for name, mask in masks.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in entries.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def load(path: str | os.PathLike) -> tuple[Network, dict, dict | None]:
    """Read what `save` wrote: the network, its parameters and its masks, as NumPy arrays.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    network : Network
    params : dict of arrays
    masks : dict of boolean arrays, or None when the file has none

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        `save` did not write the file, or a newer version did, or it is damaged. The message says what is wrong.

    Examples
    --------
    >>> import refprune as rp
    >>> rp.load(rp.__file__)
    Traceback (most recent call last):
        ...
    ValueError: need a file that refprune.save wrote; got ...: it is no NumPy archive
    """
    try:
        return _read(path)
    except (ValueError, TypeError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"need a file that refprune.save wrote; got {os.fspath(path)}: {reason}") from error


def _read(path):
    if not zipfile.is_zipfile(path):
        with open(path, "rb"):  # an OSError where it cannot be read
            raise ValueError("it is no NumPy archive")
    with np.load(path, allow_pickle=False) as archive:
        entries = {name: archive[name] for name in archive.files}
    if "header" not in entries:
        raise ValueError("it has no header")
    header = json.loads(str(entries.pop("header")))
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError("its header is of another format")
    if header.get("version") != VERSION:
        raise ValueError(f"need version {VERSION} of the format; got {header.get('version')!r}")
    network = Network.from_dicts(header.get("layers"))
    groups = {"params": {}, "masks": {}}
    for name, array in entries.items():
        group, _, own = name.partition("/")
        if group not in groups:
            raise ValueError(f"need entries params/... and masks/...; got {name!r}")
        groups[group][own] = array
    params = _fits(network, groups["params"])
    return network, params, checked_masks(network, groups["masks"]) or None


def _fits(network, params):
    """Return `params` when its names, shapes and dtypes are those of the network."""
    if not isinstance(params, dict):
        raise TypeError(f"need params to be a dict of arrays; got {type(params).__name__}")
    shapes = network.shapes | network.constants
    unknown, missing = sorted(params.keys() - shapes.keys()), sorted(shapes.keys() - params.keys())
    if unknown or missing:
        raise ValueError(f"need params named {list(shapes)}; unknown {unknown}, missing {missing}")
    for name, value in params.items():
        library(value, f"params[{name!r}]")
        if dtype_name(value.dtype) not in DTYPES:
            raise TypeError(f"need params[{name!r}] in {', '.join(DTYPES)}; got {dtype_name(value.dtype)}")
        if tuple(value.shape) != shapes[name]:
            raise ValueError(f"need params[{name!r}] of shape {shapes[name]}; got {tuple(value.shape)}")
    return params
