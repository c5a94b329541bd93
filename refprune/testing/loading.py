"""Finding the implementation under test: `module:function`, or a module that is an adapter.

Both raise `LoadError` with one line that a person can act on. An import that raises is a load error too,
whatever it raises.
"""

import difflib
import importlib
import inspect
import sys
from dataclasses import dataclass

from refprune.testing.wire import type_name


class LoadError(ImportError):
    """The implementation cannot be loaded; the message is one line."""


def load(name):
    """The callable that `name` ("module:function") means.

    A dotted path after the colon goes into classes. A class whose instances can be called is instantiated
    without arguments.

    Raises
    ------
    LoadError
        The name has another form, the module cannot be imported, it has no such attribute, or the attribute
        cannot be called.

    Examples
    --------
    >>> load("math:hypot")(3, 4)
    5.0
    """
    module_name, path = _split(name)
    module = import_module(module_name)
    target = module
    for part in path.split("."):
        try:
            target = getattr(target, part)
        except AttributeError:
            raise LoadError(f"need {path!r} in module {module_name!r}; {_hint(target, part)}") from None
    if inspect.isclass(target) and any("__call__" in vars(c) for c in target.__mro__):
        target = _guarded(target, f"making an instance of {name}")
    if not callable(target):
        raise LoadError(f"need a function or another callable; {name} is a {type_name(target)}")
    return target


def _split(name):
    module, colon, path = name.partition(":")
    if module.endswith(".py") or "/" in module:
        dotted = module.removesuffix(".py").strip("./").replace("/", ".") or "kernels"
        raise LoadError(f"need module:function such as {dotted}:{path or 'prune'}, no file; got {name!r}")
    words = [*module.split("."), *path.split(".")]
    if not colon or not all(word.isidentifier() for word in words):
        raise LoadError(f"need module:function such as my_kernels:prune; got {name!r}")
    return module, path


def _hint(target, part):
    known = [n for n in vars(target) if not n.startswith("_")] if hasattr(target, "__dict__") else []
    close = difflib.get_close_matches(part, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    names = [n for n in known if callable(getattr(target, n, None))]
    return f"it has {', '.join(names[:8]) or 'no functions'}"


def import_module(name):
    """Import the module `name`; LoadError with the reason when that fails, also when it calls `sys.exit`."""
    return _guarded(lambda: importlib.import_module(name), f"importing {name!r}")


def _guarded(action, doing):
    try:
        return action()
    except Exception as error:
        raise LoadError(f"{doing} raised {type_name(error)}: {one_line(error)}{_place(error)}") from error
    except SystemExit as error:
        raise LoadError(f"{doing} called sys.exit({error.code!r}){_place(error)}") from error


def one_line(error):
    """The message of an exception on one line, at most 500 characters; `str` that raises is described."""
    try:
        text = " ".join(str(error).split())
    except BaseException as inner:
        text = f"<its message raised {type_name(inner)}>"
    return text if len(text) <= 500 else text[:497] + "..."


def where(error):
    """File, line and function of the innermost frame outside refprune's own testing code, "" when none."""
    place, trace = "", getattr(error, "__traceback__", None)
    while trace is not None:
        code = trace.tb_frame.f_code
        module = trace.tb_frame.f_globals.get("__name__", "")
        inside = module.startswith("refprune.testing") or "importlib" in module + code.co_filename
        if not inside:
            place = f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return place


def _place(error):
    place = where(error)
    return f" ({place})" if place else ""


def importable_name(function):
    """`module:function` for a callable that another process can import by that name.

    Raises
    ------
    ValueError
        It cannot be imported by name (a lambda, a local function, an instance, code typed into `__main__`).
    """
    module, path = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    target = sys.modules.get(module) if module not in (None, "__main__") else None
    for part in (path or "").split("."):
        target = getattr(target, part, None)
    if target is not function or path is None:
        shown = f"{module}:{path}" if path else type_name(function)
        raise ValueError(
            f"need an implementation that a new process can import by name, 'module:function', "
            f"for isolate=True; got {shown}; give such a name, or isolate=False to run it in this process"
        )
    return f"{module}:{path}"


@dataclass(frozen=True)
class Adapter:
    """A module that offers one function per contract: its name, version, claims and the module's name."""

    module: str
    name: str
    version: str
    claims: dict

    def implementation(self, contract):
        """`module:function` for a contract of this name (`exact-obs` is the function `exact_obs`)."""
        return f"{self.module}:{contract.replace('-', '_')}"


def adapter(module_name):
    """Import an adapter module and read its NAME, VERSION and CLAIMS (contract -> mapping of claims).

    Raises
    ------
    LoadError
        It cannot be imported, lacks one of the three names, or claims a contract without having a function
        for it.
    """
    if not all(word.isidentifier() for word in module_name.split(".")):
        raise LoadError(f"need the name of an adapter module such as my_package.adapter; got {module_name!r}")
    module = import_module(module_name)
    missing = [n for n in ("NAME", "VERSION", "CLAIMS") if not hasattr(module, n)]
    if missing:
        raise LoadError(f"need NAME, VERSION and CLAIMS in {module_name}; it lacks {', '.join(missing)}")
    claims = module.CLAIMS
    if not isinstance(claims, dict) or any(not isinstance(c or {}, dict) for c in claims.values()):
        raise LoadError(f"need CLAIMS as a mapping contract -> mapping of claims in {module_name}")
    claims = {contract: dict(claim or {}) for contract, claim in claims.items()}
    found = Adapter(module_name, str(module.NAME), str(module.VERSION), claims)
    for contract in found.claims:
        function = contract.replace("-", "_")
        if not callable(getattr(module, function, None)):
            raise LoadError(f"need a function {function!r} for claim {contract!r} in {module_name}; got none")
    return found
