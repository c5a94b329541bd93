"""Chains and residual sums found in graphs; what is no such graph is refused by name."""

import pytest

from refprune.interop.graph import ADD, PASS, Node, assemble, unsupported


def layer(read, gives, params=None):
    """A layer whose type is its own name, so that places can be compared."""
    return Node(f"node {gives}", "Op", (read,), gives, {"type": gives}, params or {})


def add(first, second, gives):
    return Node(f"node {gives}", "Add", (first, second), gives, ADD)


def skip(read, gives):
    return Node(f"node {gives}", "Identity", (read,), gives, PASS)


def shape(layers):
    """The layers as nested tuples: a name, or (body, shortcut)."""
    return [
        (shape(one["body"]), shape(one.get("shortcut", []))) if one["type"] == "residual" else one["type"]
        for one in layers
    ]


GRAPHS = {
    "the input itself": ([], "x", []),
    "only passes": ([skip("x", "a"), skip("a", "b")], "b", []),
    "chain": ([layer("x", "a"), layer("a", "b")], "b", ["a", "b"]),
    "identity read second": ([layer("x", "a"), add("a", "x", "y")], "y", [(["a"], [])]),
    "identity read first": ([layer("x", "a"), add("x", "a", "y")], "y", [(["a"], [])]),
    "the body is read first": (
        [layer("x", "a"), layer("x", "b"), layer("b", "c"), add("a", "c", "y")],
        "y",
        [(["a"], ["b", "c"])],
    ),
    "layers around": (
        [layer("x", "a"), layer("a", "b"), add("b", "a", "y"), layer("y", "z")],
        "z",
        ["a", (["b"], []), "z"],
    ),
    "sum of sums": (
        [layer("x", "a"), layer("x", "b"), layer("x", "c"), add("a", "b", "s"), add("s", "c", "y")],
        "y",
        [([(["a"], ["b"])], ["c"])],
    ),
    "nested in the body": (
        [layer("x", "a"), layer("a", "b"), add("b", "a", "s"), layer("s", "c"), add("c", "x", "y")],
        "y",
        [(["a", (["b"], []), "c"], [])],
    ),
    "nested in the shortcut": (
        [layer("x", "a"), layer("x", "b"), layer("b", "c"), add("b", "c", "s"), add("a", "s", "y")],
        "y",
        [(["a"], ["b", (["c"], [])])],
    ),
    "one after the other": (
        [layer("x", "a"), add("a", "x", "s"), layer("s", "b"), add("s", "b", "y")],
        "y",
        [(["a"], []), (["b"], [])],
    ),
    "passes inside branches": (
        [skip("x", "p"), layer("p", "a"), skip("a", "q"), skip("x", "r"), add("q", "r", "y"), skip("y", "z")],
        "z",
        [(["a"], [])],
    ),
    "what the result does not need": (
        [layer("x", "a"), layer("a", "b"), add("b", "x", "c"), layer("a", "y"), layer("other", "d")],
        "y",
        ["a", "y"],
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_layers_of_a_graph(name):
    nodes, result, expected = GRAPHS[name]
    assert shape(assemble(nodes, "x", result).layers) == expected


def test_parameters_and_names_are_keyed_by_place_in_the_flat_order():
    nodes = [
        layer("x", "a", {"weight": 1, "bias": 2}),
        layer("a", "s", {"weight": 3}),
        layer("a", "b"),
        layer("b", "c", {"weight": 4, "running_mean": 5}),
        add("c", "s", "y"),
        layer("y", "z", {"bias": 6}),
    ]
    _, params, names = assemble(nodes, "x", "z")
    assert list(params.items()) == [
        ("0.weight", 1),
        ("0.bias", 2),
        ("1.body.1.weight", 4),
        ("1.body.1.running_mean", 5),
        ("1.shortcut.0.weight", 3),
        ("2.bias", 6),
    ]
    assert names == {
        "0": "node a",
        "1": "node y",
        "1.body.0": "node b",
        "1.body.1": "node c",
        "1.shortcut.0": "node s",
        "2": "node z",
    }


def test_a_long_chain_of_blocks_needs_no_deep_stack():
    nodes = [
        step for i in range(3000) for step in (layer(f"v{i}", f"f{i}"), add(f"f{i}", f"v{i}", f"v{i + 1}"))
    ]
    assert len(assemble(nodes, "v0", "v3000").layers) == 3000


def test_a_layer_in_two_branches_is_refused_by_name():
    # a + x + b(a): the sum parts at x, and a stands in both branches
    nodes = [layer("x", "a"), layer("a", "b"), add("a", "x", "s"), add("s", "b", "y")]
    with pytest.raises(ValueError, match="got Op \\(node 'node a'\\), which two branches share"):
        assemble(nodes, "x", "y")


def test_a_value_added_to_itself_is_refused_by_name():
    nodes = [layer("x", "a"), skip("a", "b"), add("a", "b", "y")]
    with pytest.raises(ValueError, match="Add \\(node 'node y'\\): it adds a value to itself"):
        assemble(nodes, "x", "y")


@pytest.mark.parametrize(
    "nodes", [[layer("a", "y"), layer("x", "a")], [layer("other", "y")], [layer("x", "a")]]
)
def test_a_result_that_the_input_does_not_reach_is_refused(nodes):
    with pytest.raises(ValueError, match="need a result that is computed from 'x', in order; got 'y'"):
        assemble(nodes, "x", "y")


def test_the_error_of_an_operator_names_it_its_node_and_the_reason():
    error = unsupported("LSTM", "rnn/1", "no layer does this")
    assert str(error) == (
        "need operators that are layers of refprune; got LSTM (node 'rnn/1'): no layer does this"
    )
