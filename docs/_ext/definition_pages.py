"""Shows the file of a definition under its name on the API pages: a definition is there to be read."""

import inspect
from pathlib import Path

PACKAGE = "refprune.definitions"


def show(app, what, name, obj, options, lines) -> None:
    """Append the module that holds the definition `obj` to its docstring."""
    if inspect.isfunction(obj) and name.startswith(f"{PACKAGE}.") and what == "function":
        file = Path(inspect.getsourcefile(obj)).name
        lines += ["", f"The whole of ``refprune/definitions/{file}``:", ""]
        lines += [f".. literalinclude:: /../refprune/definitions/{file}", "   :language: python", ""]


def setup(app) -> dict:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", show, priority=900)  # after numpydoc, which rewrites docstrings
    return {"version": "1", "parallel_read_safe": True}
