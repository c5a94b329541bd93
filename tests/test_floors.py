"""The floor plan of the house, held by reading the sources: who imports whom, how long modules and functions are."""

import ast
from pathlib import Path

import pytest

import refprune

ROOT = Path(refprune.__file__).parent

# The floor of every module and package, the lowest first.
FLOORS = {
    "backends": 0,
    "exact": 0,
    "checks": 0,
    "linear": 0,
    "arrays": 0,
    "progress": 0,
    "counts": 1,
    "datasets": 1,
    "layout": 1,
    "blocks": 1,
    "patterns": 1,
    "unfold": 1,
    "gram": 1,
    "quadratic": 1,
    "layer_problem": 1,
    "problems": 1,
    "pruned": 1,
    "curvature": 2,
    "network": 2,
    "definitions": 3,
    "methods": 3,
    "interop": 4,
    "ispasp_network": 4,
    "iterative_magnitude": 4,
    "prospr": 4,
    "prune": 4,
    "pruning": 4,
    "random_pruning": 4,
    "shrink": 4,
    "snows": 4,
    "sosp": 4,
    "woodfisher_network": 4,
    "testing": 5,
    "demo": 6,
    "console": 6,
    "jobs": 6,
    "cli": 6,
    "__main__": 6,
    "": 6,  # the public face, refprune/__init__.py
}
# The two readings of a method do not lean on each other.
PAIRS_THAT_DO_NOT_MEET = {("definitions", "methods"), ("methods", "definitions")}
# The judge shares no code with the judged.
JUDGE, ADAPTER = "testing", "testing.reference"
LINES, FUNCTION_LINES = 300, 60

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in sorted(ROOT.rglob("*.py"))
}


def top(module):
    return module.partition(".")[0]


def imports(module, source):
    """The modules of refprune (without that name) that `source` imports anywhere, in functions too."""
    package = module if MODULES.get(module, Path()).name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = ("refprune." + package).rstrip(".").split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [base])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.partition(".")[0] == "refprune":
                yield _known(name.partition(".")[2])


def _known(name):
    """The longest start of `name` that is a module: `from package import name` may name either."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def offences(module, source):
    """What the imports of `module` break of the floor plan."""
    for other in imports(module, source):
        if other == module or other == "":
            # the public face may be read by docs and tutorials, not by the floors below it
            if other == "" != module and FLOORS[top(module)] < 5:
                yield f"{module} imports the public face"
            continue
        if FLOORS[top(other)] > FLOORS[top(module)]:
            yield f"{module} (floor {FLOORS[top(module)]}) imports {other} (floor {FLOORS[top(other)]})"
        if (top(module), top(other)) in PAIRS_THAT_DO_NOT_MEET:
            yield f"{module} imports {other}"
        if top(module) == JUDGE and module != ADAPTER and top(other) == "methods":
            yield f"{module} is the judge and imports {other}, the judged"


def test_every_module_has_a_floor():
    assert {top(module) for module in MODULES} == set(FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    assert not list(offences(module, MODULES[module].read_text()))


def test_there_are_no_cycles():
    edges = {m: {o for o in imports(m, p.read_text()) if o and o != m} for m, p in MODULES.items() if m}
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        path.append(module)
        for other in sorted(edges[module]):
            if not module.startswith(other + "."):  # a module may name its own package
                visit(other)
        done.add(path.pop())

    for module in edges:
        visit(module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("arrays", "from refprune.patterns import NM"),
        ("patterns", "import refprune.methods.obs"),
        ("exact", "def f():\n    from refprune import gram"),
        ("definitions.obs", "from refprune.methods import obs"),
        ("methods.obs", "from refprune import definitions"),
        ("methods.obs", "from ..definitions.obs import obs"),
        ("testing.judge", "from refprune.methods.obs import obs"),
        ("testing.judge", "from refprune import demo"),
        ("methods.obs", "import refprune as rp"),
    ],
)
def test_the_rule_sees_what_breaks_it(module, source):
    assert len(list(offences(module, source))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("methods.obs", "from refprune.arrays import inv\nfrom .magnitude import magnitude\nimport numpy"),
        ("testing.reference", "from refprune.methods import obs"),
        ("testing.judge", "from refprune.definitions import obs"),
        ("demo.run", "import refprune as rp"),
    ],
)
def test_the_rule_sees_nothing_where_there_is_nothing(module, source):
    assert not list(offences(module, source))


def functions(tree):
    return [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]


def length(function):
    """Lines of a function, its docstring not counted."""
    first = function.body[0]
    doc = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    lines = function.end_lineno - function.lineno + 1
    return lines - (first.end_lineno - first.lineno + 1 if doc else 0)


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_are_short(module):
    source = MODULES[module].read_text()
    if source.startswith("#"):
        return  # the first comment states why this file is long
    assert source.count("\n") <= LINES
    long = {f.name: length(f) for f in functions(ast.parse(source)) if length(f) > FUNCTION_LINES}
    assert not long


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("definitions.")])
def test_definitions_are_at_most_60_lines(module):
    assert MODULES[module].read_text().count("\n") <= 60


@pytest.mark.parametrize("module", MODULES)
def test_numpy_is_not_called_on_arrays_of_users_by_star_or_alias(module):
    # the plain rules of the house that a reader would otherwise have to check: no star imports, no global
    # state
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        assert not (isinstance(node, ast.ImportFrom) and any(a.name == "*" for a in node.names))
        assert not isinstance(node, ast.Global)


def test_the_length_of_a_function_leaves_out_its_docstring():
    (function,) = functions(ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    return 1\n'))
    assert length(function) == 2


def test_modules_of_the_tests_have_names_of_their_own():
    """pytest imports them by their file names alone."""
    names = sorted(path.name for path in Path(__file__).parent.rglob("*.py"))
    assert len(names) > 100
    assert [name for name in names if names.count(name) > 1] == []
