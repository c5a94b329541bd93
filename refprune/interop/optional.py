"""Libraries that are not always installed."""

import importlib
from types import ModuleType


def optional(module: str, extra: str) -> ModuleType:
    """The module `module`, imported now; ImportError that names the extra when it is missing.

    Examples
    --------
    >>> optional("json", "onnx").dumps([1])
    '[1]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f'need {module.partition(".")[0]} for this; install it with: pip install "refprune[{extra}]"'
        ) from error
