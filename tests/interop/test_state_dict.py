"""State dicts to parameters and back: by name, by given names, by order and shape."""

import sys

import numpy as np
import pytest

from refprune.interop import from_state_dict, from_torch, to_state_dict, to_torch, torch_module, torch_names
from refprune.network import BatchNorm2d, Conv2d, Dense, Flatten, Network, Residual, Tanh

LAYERS = [
    Conv2d(1, 2, 3, bias=False),
    BatchNorm2d(2),
    Residual([Conv2d(2, 2, 1), BatchNorm2d(2)], [Conv2d(2, 2, 1, bias=False)]),
    Flatten(),
    Dense(8, 3),
]
NETWORK = Network(LAYERS)


def params(seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    shapes = NETWORK.shapes | NETWORK.constants
    return {name: rng.uniform(0.2, 2, size=shape).astype(dtype) for name, shape in shapes.items()}


def renamed(state):
    """The entries in the order of PyTorch, layer by layer, under names that say nothing of their places."""
    layers = [f"{key}." for key in ("0", "1", "2.body.0", "2.body.1", "2.shortcut.0", "4")]
    keys = [name for layer in layers for name in state if name.startswith(layer)]
    paths = {layer: f"part_{9 - i}." for i, layer in enumerate(layers)}
    return {paths[f"{k.rpartition('.')[0]}."] + k.rpartition(".")[2]: state[k] for k in keys}


def same(found, expected):
    assert list(found) == list(NETWORK.shapes | NETWORK.constants)
    for name, array in found.items():
        assert isinstance(array, np.ndarray)
        assert array.dtype == expected[name].dtype
        assert np.array_equal(array, expected[name])
        assert not np.shares_memory(array, expected[name])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("form", [NETWORK, LAYERS, NETWORK.to_dicts()], ids=["network", "layers", "dicts"])
def test_by_order(form, dtype):
    expected = params(dtype=dtype)
    same(from_state_dict(renamed(expected), form), expected)


def test_by_key_whatever_the_order():
    expected = params()
    same(from_state_dict(dict(reversed(expected.items())), NETWORK), expected)


def test_by_given_names():
    """Two layers of one shape, made in another order than they are used: only names tell."""
    network = Network([Dense(2, 2, bias=False), Tanh(), Dense(2, 2, bias=False)])
    state = {"second.weight": np.full((2, 2), 2.0), "first.weight": np.full((2, 2), 1.0)}
    names = {"0.weight": "first.weight", "2.weight": "second.weight"}
    found = from_state_dict(state, network, names)
    assert (found["0.weight"][0, 0], found["2.weight"][0, 0]) == (1, 2)
    assert from_state_dict(state, network)["0.weight"][0, 0] == 2  # by order, as documented


def test_the_count_of_batches_is_left_out():
    state = renamed(params()) | {"part_8.num_batches_tracked": np.array(7)}
    same(from_state_dict(state, NETWORK), params())


def changed(name, change):
    state = renamed(params())
    return {key: change(value) if key == name else value for key, value in state.items()}


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        (
            changed("part_5.weight", np.transpose),
            ValueError,
            r"need an entry for '2.shortcut.0.weight' of shape \(2, 2, 1, 1\); "
            r"got 'part_5.weight' of shape \(1, 1, 2, 2\)",
        ),
        (
            changed("part_8.running_var", lambda a: a[:1]),
            ValueError,
            r"'1.running_var' of shape \(2,\); got 'part_8.running_var' of shape \(1,\)",
        ),
        (
            {key: value for key, value in renamed(params()).items() if key != "part_4.bias"},
            ValueError,
            r"'4.bias' of shape \(3,\); got no more entries",
        ),
        (renamed(params()) | {"head.bias": np.ones(3)}, ValueError, r"without a use \['head.bias'\]"),
        (changed("part_4.bias", lambda a: a * np.inf), ValueError, "finite numbers in 'part_4.bias'"),
        (
            changed("part_4.bias", lambda a: a.astype(int)),
            TypeError,
            "real floating numbers in 'part_4.bias'",
        ),
        ({"state_dict": renamed(params())}, ValueError, "'0.weight' .* got 'state_dict'"),
        (list(params().values()), TypeError, "need a dict of arrays; got list"),
        ({}, ValueError, "'0.weight' .* got no more entries"),
    ],
)
def test_the_first_entry_that_does_not_fit_is_named(state, error, words):
    with pytest.raises(error, match=words):
        from_state_dict(state, NETWORK)


def test_a_bias_is_not_taken_for_a_weight():
    """Both have the shape (2,): the order of the two is another in this state dict."""
    state = renamed(params())
    keys = list(state)
    i = keys.index("part_8.weight")
    keys[i : i + 2] = keys[i + 1], keys[i]
    with pytest.raises(ValueError, match=r"'1.weight' of shape \(2,\); got 'part_8.bias' of shape \(2,\)"):
        from_state_dict({key: state[key] for key in keys}, NETWORK)


def test_names_that_do_not_fit():
    names = {name: name for name in params()} | {"4.bias": "nowhere"}
    with pytest.raises(ValueError, match=r"missing \['4.bias'\], without a use \['4.bias'\]"):
        from_state_dict(params(), NETWORK, names)


def test_a_missing_pytorch_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    calls = [
        lambda: from_torch(None),
        lambda: torch_names(None),
        lambda: to_torch(None, {}),
        lambda: torch_module(NETWORK, params()),
        lambda: to_state_dict(NETWORK, params()),
    ]
    for call in calls:
        with pytest.raises(ImportError, match=r'pip install "refprune\[torch\]"') as caught:
            call()
        assert "\n" not in str(caught.value)
    same(from_state_dict(params(), NETWORK), params())  # needs none


class TestWithPyTorch:
    """With tensors and modules."""

    @pytest.fixture(autouse=True)
    def _torch(self):
        self.torch = pytest.importorskip("torch", reason='tensors: pip install "refprune[torch]"')

    def tensors(self, state):
        return {name: self.torch.from_numpy(array.copy()) for name, array in state.items()}

    def test_from_tensors(self):
        state = self.tensors(renamed(params()))
        state["part_4.weight"] = self.torch.nn.Parameter(state["part_4.weight"].T.contiguous().T)
        same(from_state_dict(state, NETWORK), params())

    def test_copies_of_tensors(self):
        state = self.tensors(params())
        found = from_state_dict(state, NETWORK)
        found["4.bias"][...] = 9
        assert not (state["4.bias"] == 9).any()

    def test_of_a_module_of_the_same_structure(self):
        module = torch_module(NETWORK, params())
        same(from_state_dict(module.state_dict(), NETWORK), params())

    def test_into_a_module(self):
        module = torch_module(NETWORK, params(1))
        state = to_state_dict(NETWORK, params())
        assert list(state) == list(NETWORK.shapes | NETWORK.constants)
        module.load_state_dict(state)  # strict
        _, found = from_torch(module)
        assert all(np.array_equal(found[name], array) for name, array in params().items())

    def test_under_the_names_of_a_module(self):
        nn = self.torch.nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.last, self.first = nn.Linear(2, 2), nn.Linear(2, 2)

            def forward(self, x):
                return self.last(self.first(x).tanh())

        module, other = Net(), Net()
        network, found = from_torch(module)
        names = torch_names(module)
        other.load_state_dict(to_state_dict(network, found, names))
        assert all(map(self.torch.equal, module.state_dict().values(), other.state_dict().values()))
        back = from_state_dict(module.state_dict(), network, names)
        assert all(np.array_equal(back[name], found[name]) for name in found)
        wrong = from_state_dict(module.state_dict(), network)
        assert np.array_equal(wrong["0.weight"], found["2.weight"])  # by order, as documented

    def test_masks_and_copies(self):
        mask = np.random.default_rng(0).random((3, 8)) < 0.5
        given = params(dtype="float32")
        state = to_state_dict(NETWORK, given, masks={"4.weight": mask})
        assert state["4.weight"].dtype == self.torch.float32
        assert np.array_equal(state["4.weight"].numpy(), np.where(mask, given["4.weight"], 0))
        state["0.weight"].zero_()
        assert (given["0.weight"] > 0).all()

    def test_names_have_to_be_complete(self):
        with pytest.raises(ValueError, match="need names of"):
            to_state_dict(NETWORK, params(), {"0.weight": "w"})

    def test_bfloat16_is_refused(self):
        state = self.tensors(params()) | {"4.bias": self.torch.zeros(3, dtype=self.torch.bfloat16)}
        with pytest.raises(TypeError, match=r"in '4.bias'; got torch.bfloat16"):
            from_state_dict(state, NETWORK)
