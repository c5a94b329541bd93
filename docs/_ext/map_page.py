"""The directive of the map of the field: one table for each group of methods, written when the page is read.

What a method needs is said here, and held by `tests/test_map_page.py`, which calls every method and counts. All else is
looked up: the summary in its docstring, the cost in its module's, definitions and contracts by name and by the calls of
`refprune.testing.reference`, tutorials and guides by the calls in them.
"""

import ast
import inspect
import re
from functools import cache
from pathlib import Path

from contract_pages import plain
from contract_pages import table as list_table
from sphinx.util.docutils import SphinxDirective

import refprune as rp
from refprune import testing
from refprune.testing import reference

ROOT = Path(__file__).parents[2]
NEEDS = ("weights", "inputs", "gradients", "products", "training")
SIGNS = {"x": "●", "o": "○", "-": ""}
METHODS = {  # weights, inputs, gradients, products with the Hessian, training: "x" needed, "o" an option, "-" not used
    "random_pruning": "- - - - -",
    "magnitude": "x - - - -",
    "iterative_magnitude": "x - - - o",
    "wanda": "x x - - -",
    "obd": "x x - o -",
    "obs": "x x - o -",
    "optimal_weights": "x x - o -",
    "sparsegpt": "x x - - -",
    "alps": "x x - - -",
    "prune": "x x - - -",
    "ispasp": "x x - - -",
    "ispasp_network": "x x - - -",
    "synflow": "x - x - -",
    "snip": "x x x - -",
    "force": "x x x - -",
    "woodfisher": "x - x - -",
    "woodfisher_network": "x x x - o",
    "iht": "o - x o -",
    "htp": "o - x o -",
    "cosamp": "o - x o -",
    "iobs": "o - x x -",
    "newton_cg": "o - x x -",
    "snows": "x x x x -",
    "grasp": "x x x x -",
    "sosp": "x x x x -",
    "prospr": "x x x x x",
}
OF = {
    "weight": "layer", "problem": "layer", "hidden": "units", "objective": "any objective", "network": "network"
}  # fmt: skip
DEFINED = {  # where the name is another one, or not the only one
    "iterative_magnitude": ("iterative_magnitude", "zhu_gupta"),
    "obs": ("obs", "obs_groups", "exact_obs"),
    "optimal_weights": ("optimal_weights", "best_support"),
    "prune": (),
    "ispasp_network": ("ispasp",),
    "woodfisher_network": ("woodfisher",),
}
GUIDES = (
    "convolutions",
    "whole_networks",
    "structured",
    "sparse_recovery",
    "woodfisher",
    "snows",
    "before_training",
)


def group(name: str) -> str:
    """The need that decides in which table a method stands: the last one that it cannot do without."""
    needed = [need for need, mark in zip(NEEDS, METHODS[name].split()) if mark == "x"]
    return needed[-1] if needed else "weights"


def summary(name: str) -> str:
    """The first line of the docstring."""
    return inspect.getdoc(getattr(rp, name)).splitlines()[0]


def cost(name: str) -> str:
    """The first sentence that the module says of the cost."""
    text = inspect.getdoc(inspect.getmodule(getattr(rp, name)))
    found = re.search(r"^Cost: (.*?)\.(?:\s|$)", text, re.M | re.S)
    if found is None:
        raise ValueError(f"need 'Cost: ...' in the docstring of the module of {name}; got none")
    return re.sub(r"\b(\w)\^(\w)\b", r"\1\\ :sup:`\2`", plain(" ".join(found[1].split())))


def defined(name: str) -> tuple[str, ...]:
    """The definitions of a method."""
    return DEFINED.get(name, (name,))


def judged(name: str) -> list[str]:
    """The contracts of its name, of its parts, and those that refprune's own adapter answers by it."""
    found = []
    for contract in testing.contracts:
        adapter = contract.replace("-", "_")
        own = (adapter + "_").startswith(name + "_") and adapter not in METHODS.keys() - {name}
        calls = f"rp.{name}(" in inspect.getsource(getattr(reference, adapter))
        if own or (calls and not contract.endswith("-step")):
            found.append(contract)
    return found


@cache
def called(path: Path) -> frozenset[str]:
    """The names that the code of a tutorial takes from refprune or its definitions.

    In one that calls `rp.prune`, the strings too, for a method may be given by its name; but not what is a key.
    """
    nodes, names = list(ast.walk(ast.parse(path.read_text()))), set()
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names |= {node.attr} if node.value.id in ("rp", "definitions") else set()
    if "prune" in names:
        keys = {id(key) for node in nodes if isinstance(node, ast.Dict) for key in node.keys}
        keys |= {
            id(inner) for node in nodes if isinstance(node, ast.Subscript) for inner in ast.walk(node.slice)
        }
        strings = (node for node in nodes if isinstance(node, ast.Constant) and id(node) not in keys)
        names |= {node.value for node in strings if isinstance(node.value, str)}
    return frozenset(names)


def tutorials(name: str) -> dict[str, str]:
    """Number -> page of the tutorials that call a method."""
    pages = sorted((ROOT / "tutorials").glob("plot_*.py"))
    return {path.stem.split("_")[1]: f"tutorials/{path.stem}" for path in pages if name in called(path)}


def guides(name: str) -> list[str]:
    """The guides that name a method."""
    return [page for page in GUIDES if re.search(rf"\brp\.{name}\b", (ROOT / f"docs/{page}.rst").read_text())]


def read(name: str) -> str:
    """A cell of links, a line for each kind."""
    lines = {
        "definition": [f":func:`{d} <refprune.definitions.{d}>`" for d in defined(name)],
        "contract": [f":doc:`{c} </contracts/generated/{c}>`" for c in judged(name)],
        "tutorial": [f":doc:`{number} </{page}>`" for number, page in tutorials(name).items()],
        "guide": [f":doc:`{page.replace('_', ' ')} </{page}>`" for page in guides(name)],
    }
    told = [f"| {kind}{'s' * (len(found) > 1)} {', '.join(found)}" for kind, found in lines.items() if found]
    return "\n       ".join(told)


def row(name: str) -> list[str]:
    """The cells of a method."""
    of = OF[next(iter(inspect.signature(getattr(rp, name)).parameters))]
    marks = [SIGNS[mark] for mark in METHODS[name].split()]
    return [f":func:`rp.{name} <refprune.{name}>`: {summary(name)}", of, *marks, cost(name), read(name)]


class Methods(SphinxDirective):
    """``.. methods:: inputs``: the methods that need inputs, and nothing behind it."""

    required_arguments = 1

    def run(self):
        """The nodes of the table."""
        names = [name for name in METHODS if group(name) == self.arguments[0]]
        for path in sorted((ROOT / "tutorials").glob("plot_*.py")):
            self.env.note_dependency(str(path))
        header = ["method", "prunes", "w", "x", "g", "H", "steps", "costs", "read"]
        lines = list_table(header, [row(name) for name in names], [27, 8, 3, 3, 3, 4, 5, 24, 23])
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app) -> dict:
    """Sphinx calls this."""
    app.add_directive("methods", Methods)
    return {"version": "1", "parallel_read_safe": True}
