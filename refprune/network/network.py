"""Networks: a list of layers, a dict of parameters, and everything that is read off them exactly."""

from math import prod

from refprune.arrays import Array, cast, concat, library, namespace, real
from refprune.unfold import rows

from . import chain, derivatives, initial, matrices, outer_products
from .dicts import from_dicts
from .point import parts


class Network:
    r"""Layers one after the other.

    Parameters
    ----------
    layers : list of layers
        `rp.Dense`, `rp.Conv2d`, activations, pools, `rp.Flatten`, `rp.BatchNorm2d`, `rp.Residual`.

    Attributes
    ----------
    layers : list
    shapes : dict
        Name -> shape of every trainable parameter, in flat order: layers in order, body before shortcut,
        weight then bias. Names are those of a PyTorch `state_dict`: ``"0.weight"``, ``"3.body.0.bias"``.
    constants : dict
        Name -> shape of BatchNorm's running statistics, which are in `params` and not in the flat vector.
    prunable : tuple of str
        The names of the weights of Dense and Conv2d layers.
    size : int
        The length d of the flat vector.

    Notes
    -----
    `params` is a dict of arrays with the names of `shapes` and `constants`. All arrays of a call are of one
    kind (NumPy, CuPy, ...); computation runs in their common precision, float32 at least. Samples are the
    first axis of `x`, images are (samples, channels, height, width). Methods are pure. Every method raises
    TypeError or ValueError, before any work, for names, shapes or values that do not fit, for NaN and Inf,
    and for no sample at all.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> network = rp.Network([rp.Dense(2, 2), rp.Tanh(), rp.Dense(2, 1, bias=False)])
    >>> network.shapes
    {'0.weight': (2, 2), '0.bias': (2,), '2.weight': (1, 2)}
    >>> params = network.unflatten(np.array([1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0]))
    >>> network.forward(params, np.array([[0.0, np.log(3) / 2]]))
    array([[0.5]])
    """

    def __init__(self, layers: list):
        self.layers = chain.checked_layers("layers", layers)
        self.shapes, self.constants, prunable = {}, {}, []
        for key, layer in enumerate(self.layers):
            self.shapes |= {f"{key}.{name}": shape for name, shape in layer.parameters().items()}
            self.constants |= {f"{key}.{name}": shape for name, shape in layer.constants().items()}
        for name, shape in self.shapes.items():
            if len(shape) > 1:  # of all parameters only the weights of Dense and Conv2d are matrices
                prunable.append(name)
        self.prunable = tuple(prunable)
        self.size = sum(map(prod, self.shapes.values()))

    def __repr__(self):
        return f"Network({self.layers!r})"

    @classmethod
    def from_dicts(cls, layers: list) -> "Network":
        """A network from plain data: a list of dicts with the key ``type`` and a layer's arguments.

        Raises
        ------
        TypeError, ValueError
            An unknown type, or arguments that the type does not have.

        Examples
        --------
        >>> import refprune as rp
        >>> rp.Network.from_dicts([{"type": "dense", "inputs": 5, "outputs": 3}, {"type": "relu"}])
        Network([Dense(inputs=5, outputs=3, bias=True), ReLU()])
        """
        return cls(from_dicts(layers))

    def to_dicts(self) -> list[dict]:
        """The layers as plain data, with every argument; `from_dicts` gives the same network back."""
        return [layer.to_dict() for layer in self.layers]

    def flatten(self, params: dict) -> Array:
        """The trainable parameters as one vector (d,), in the order of `shapes`."""
        derivatives.trainable(self)
        self._check_names(params)
        for name, shape in self.shapes.items():
            real(f"params[{name!r}]", params[name], shape=shape)
        arrays = cast(*(params[name] for name in self.shapes))
        return concat([namespace(array).reshape(array, (-1,)) for array in arrays], axis=0)

    def unflatten(self, vector: Array, params: dict | None = None) -> dict:
        """The parameters (a new dict of new arrays) from a flat vector (d,).

        Running statistics are not in the vector: they are those of `params`, and absent without it.
        """
        real("vector", vector, shape=(self.size,))
        found = {name: value + 0 for name, value in derivatives.split(self, vector).items()}
        if params is None:
            return found
        self._check_statistics(params)
        return found | {name: params[name] + 0 for name in self.constants}

    def forward(self, params: dict, x: Array) -> Array:
        """The outputs (samples, ...). Many samples go through in parts, so memory stays bounded."""
        params, x = self.ready(params, x)
        outputs = [chain.forward(self.layers, params, x[part, ...]) for part in parts(self, x, keep=False)]
        return concat(outputs, axis=0)  # always new: Flatten alone gives its input

    def activations(self, params: dict, x: Array) -> dict:
        """The output of every layer, by its key: ``"0"``, ``"3.body.0"``, ... (inside a residual first)."""
        params, x = self.ready(params, x)
        return {key: y + 0 for key, _, _, y in chain.trace(self.layers, params, x)}

    def layer_inputs(self, params: dict, x: Array) -> dict:
        """What the weight of every Dense and Conv2d multiplies, by the layer's key: rows for its layer problem.

        (samples, columns) for Dense, (samples * positions, columns) for Conv2d, in C order of (sample, row,
        column) and (channel, kernel row, kernel column); a stack (groups, samples * positions, columns) for a
        convolution in groups.

        Examples
        --------
        >>> import numpy as np
        >>> import refprune as rp
        >>> network = rp.Network([rp.Conv2d(1, 2, (1, 2))])
        >>> params = network.init(np.random.default_rng(0))
        >>> network.layer_inputs(params, np.arange(3.0).reshape(1, 1, 1, 3))["0"]
        array([[0., 1.],
               [1., 2.]])
        """
        params, x = self.ready(params, x)
        found = {}
        for key, layer, inputs, _ in chain.trace(self.layers, params, x):
            if f"{key}.weight" in self.prunable:
                lifted = layer.lift({}, inputs)
                found[key] = rows(lifted) if lifted.ndim > 2 else lifted + 0
        return found

    def ready(self, params: dict, x: Array, name: str = "x") -> tuple[dict, Array]:
        """The arguments, checked, in one precision; `name` is what messages call `x`."""
        self.check(params)
        real(name, x)
        if x.ndim < 2 or x.shape[0] == 0:
            raise ValueError(
                f"need {name} of shape (samples, ...) with at least one sample; got {tuple(x.shape)}"
            )
        self.output_shape(x.shape[1:])
        *arrays, x = cast(*(params[name] for name in self.shapes | self.constants), x)
        return dict(zip(self.shapes | self.constants, arrays)), x

    def check(self, params: dict):
        """Raise TypeError or ValueError unless `params` are arrays that fit the network."""
        self._check_names(params)
        for name, shape in self.shapes.items():
            real(f"params[{name!r}]", params[name], shape=shape)
        self._check_statistics(params)

    def _check_names(self, params):
        if not isinstance(params, dict):
            raise TypeError(f"need params to be a dict of arrays; got {type(params).__name__}")
        unknown = sorted(params.keys() - self.shapes.keys() - self.constants.keys())
        missing = [name for name in self.shapes if name not in params]
        if unknown or missing:
            raise ValueError(
                f"need params named {list(self.shapes | self.constants)}; unknown {unknown}, missing {missing}"
            )
        for name, value in params.items():
            library(value, f"params[{name!r}]")

    def _check_statistics(self, params):
        if not isinstance(params, dict):
            raise TypeError(f"need params to be a dict of arrays; got {type(params).__name__}")
        for name, shape in self.constants.items():
            if name not in params:
                raise ValueError(f"need the running statistics {name!r} in params; got {sorted(params)}")
            real(f"params[{name!r}]", params[name], shape=shape)
            if name.endswith("running_var") and bool(namespace(params[name]).any(params[name] < 0)):
                raise ValueError(f"need variances >= 0 in params[{name!r}]; got a negative one")

    def output_shape(self, shape: tuple) -> tuple:
        """The shape of one sample's output for samples of `shape`.

        Raises
        ------
        ValueError
            A layer does not fit; the message names it.

        Examples
        --------
        >>> import refprune as rp
        >>> rp.Network([rp.Conv2d(1, 4, 3), rp.MaxPool2d(2), rp.Flatten()]).output_shape((1, 8, 8))
        (36,)
        """
        return chain.output_shape(self.layers, tuple(shape))

    def held(self, x: Array) -> int:
        """About how many numbers per sample the derivatives hold on to, for samples like those of `x`."""
        return sum(chain.held(self.layers, tuple(x.shape[1:])))

    init = initial.init
    loss = derivatives.loss
    gradient = derivatives.gradient
    hvp = derivatives.hvp
    gauss_newton_product = derivatives.gauss_newton_product
    jacobian = derivatives.jacobian
    per_sample_gradients = derivatives.per_sample_gradients
    hessian = matrices.hessian
    hessian_diagonal = matrices.hessian_diagonal
    gauss_newton = outer_products.gauss_newton
    empirical_fisher = outer_products.empirical_fisher
    model_fisher = outer_products.model_fisher
