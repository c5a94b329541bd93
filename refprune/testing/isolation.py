"""Running an implementation where it can do no harm: `Runner` calls it in a process of its own.

Whatever it does (an exception, `sys.exit`, a segmentation fault, a hang, a flood of output, an answer that
cannot be sent), a call returns one `Outcome` that says what happened, and the next call works.
"""

import math
from dataclasses import dataclass

import numpy as np

from refprune.testing import calling, kinds, loading, wire
from refprune.testing.process import Lost, Process
from refprune.testing.wire import Foreign, Raised

__all__ = ["Foreign", "Outcome", "Raised", "Runner", "describe"]

GPU_FAULTS = ("CUDA error", "CUDA_ERROR", "cudaError", "HIP error", "hipError")


@dataclass(frozen=True)
class Outcome:
    """What one case came to.

    Attributes
    ----------
    kind : str
        "answer", "error" (it raised), "timeout", "crash" (the process died) or "flood" (it printed too much).
    answers : tuple
        One per call that returned: NumPy arrays, Python scalars, tuples, lists, mappings; anything else is a
        `Foreign`. An object with the attributes weight and mask (`rp.Pruned`) is a mapping.
    error : Raised or None
        The exception, or for timeout, crash and flood a sentence that says what befell the process.
    mutated : tuple of str
        Arguments that were changed in place, after all calls.
    aliased : tuple of str
        Arguments whose memory an answer shares.
    wrong_kind : tuple of str
        Returned arrays of another kind than asked, by place and type, e.g. "answer[1] (numpy.ndarray)".
    seconds : float
        Time inside the implementation; the limit for a timeout.
    products : tuple of int
        For each call that returned, how often it asked the problem's operators for a product.
    """

    kind: str
    answers: tuple = ()
    error: Raised | None = None
    mutated: tuple = ()
    aliased: tuple = ()
    wrong_kind: tuple = ()
    seconds: float = 0.0
    products: tuple = ()


def _outcome(reply):
    return Outcome(
        reply["kind"],
        tuple(wire.decode(answer) for answer in reply["answers"]),
        Raised(*reply["error"]) if reply["error"] else None,
        *(tuple(reply[name]) for name in ("mutated", "aliased", "wrong_kind")),
        reply["seconds"],
        tuple(reply["products"]),
    )


class Runner:
    """Calls one implementation on many problems; a context manager.

    Parameters
    ----------
    implementation : str or callable
        "module:function", or a callable. A callable must be importable by its name when `isolate`.
    arrays : str
        Kind of array that it is given: "numpy", "torch", "jax" or "cupy".
    isolate : bool
        True: in a process of its own, one for many calls, with one BLAS thread and JAX in 64 bit. False: in
        this process, exceptions (SystemExit too) are caught, but there is no timeout, and a crash is a crash.
    timeout : float
        Seconds for each call of the implementation.
    warmup_timeout : float
        Seconds for the start and import, and for the first call on each tuple of shapes and dtypes (a kernel
        may be compiled then). After a first call that ran out of it the rest must do with `timeout` until
        one is answered.

    Raises
    ------
    ValueError
        A callable that cannot be imported by name with `isolate`, an unknown kind, a timeout that is not
        positive.
    LoadError
        On entering the context: the implementation cannot be loaded.

    Examples
    --------
    >>> with Runner("math:floor", isolate=False) as runner:
    ...     runner.call({"x": 2.5}).answers
    (2,)
    """

    def __init__(self, implementation, arrays="numpy", isolate=True, timeout=10.0, warmup_timeout=120.0):
        if arrays not in kinds.KINDS:
            raise ValueError(f"need arrays in {', '.join(kinds.KINDS)}; got {arrays!r}")
        for name, limit in (("timeout", timeout), ("warmup_timeout", warmup_timeout)):
            if not (limit > 0 and math.isfinite(limit)):
                raise ValueError(f"need {name} > 0 seconds; got {limit!r}")
        if isolate and not isinstance(implementation, str):
            implementation = loading.importable_name(implementation)
        self.implementation, self.arrays, self.isolate = implementation, arrays, isolate
        self.timeout, self.warmup_timeout = timeout, max(warmup_timeout, timeout)
        self._process, self._function, self._id, self._answered = None, None, 0, False
        self._warm, self._slow = set(), set()  # shapes answered by this process; shapes that ran out of time

    def __enter__(self):
        failure = self._start()
        if failure is not None:
            raise loading.LoadError(failure.error.message)
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """End the worker process, if there is one."""
        if self._process is not None:
            self._process.stop()
        self._process = None
        self._warm.clear()

    def call(self, problem, calls=1):
        """Call the implementation on a problem.

        Parameters
        ----------
        problem : dict
            Argument name -> NumPy array, number, text, or lists and mappings of those, given positionally in
            this order. Arrays arrive with their layout: strides, and read-only where they are (NumPy only).
            The caller's arrays are never touched.
        calls : int
            How often, on the same buffers.

        Returns
        -------
        Outcome
            One, whatever happens.
        """
        tree = wire.encode(problem, strict=True)
        failure = self._start()
        if failure is not None:
            return failure
        if not self.isolate:
            spare = (KeyboardInterrupt,)
            return _outcome(calling.perform(self._function, wire.decode(tree), calls, self.arrays, spare))
        return self._exchange(tree, _shapes(problem), calls)

    def _exchange(self, tree, shapes, calls):
        hopeless = self._slow and not self._answered  # it has used up its warm-up and never answered
        warm = shapes in self._warm or shapes in self._slow or hopeless
        limit = self.timeout * calls if warm else self.warmup_timeout + self.timeout * (calls - 1)
        self._id += 1
        request = {"id": self._id, "problem": tree, "calls": calls, "limit": limit}
        try:
            reply = self._process.exchange(request, limit)
            if reply.get("id") != self._id:
                raise Lost("crash", "the worker's reply is to another case")
        except Lost as lost:
            self.close()
            if lost.kind == "timeout":
                self._slow.add(shapes)
            return _lost(lost, limit)
        except BaseException:  # Ctrl-C: the process is gone already
            self.close()
            raise
        self._warm.add(shapes)
        self._answered = True
        outcome = _outcome(reply)
        if outcome.kind == "error" and any(fault in str(outcome.error) for fault in GPU_FAULTS):
            self.close()  # a GPU that has faulted answers every later call with the same error
        return outcome

    def _start(self):
        """Load the implementation where it is not loaded yet; an `Outcome` when that fails."""
        if not self.isolate:
            return self._load_here() if self._function is None else None
        if self._process is None:
            self._process = Process()
            try:
                reply = _load(
                    self._process, "function", self.implementation, self.arrays, self.warmup_timeout
                )
            except Lost as lost:
                self.close()
                return _lost(lost, self.warmup_timeout, f"loading {self.implementation}: ")
            if reply["kind"] != "ready":
                self.close()
                return Outcome("error", error=Raised(*reply["error"]))
        return None

    def _load_here(self):
        try:
            kinds.require(self.arrays)
            loaded = loading.load(self.implementation) if isinstance(self.implementation, str) else None
            self._function = loaded or self.implementation
        except (ImportError, ValueError) as error:
            return Outcome("error", error=Raised(*calling.raised(error)))
        return None


def describe(module, timeout=120.0):
    """Read NAME, VERSION and CLAIMS of the adapter `module` in a process of its own.

    Returns
    -------
    Adapter

    Raises
    ------
    LoadError
        It cannot be imported within `timeout` seconds, or is no adapter.
    """
    process = Process()
    try:
        reply = _load(process, "adapter", module, "numpy", timeout)
    except Lost as lost:
        raise loading.LoadError(f"importing {module!r}: {lost}") from None
    finally:
        process.stop()
    if reply["kind"] != "ready":
        raise loading.LoadError(reply["error"][1])
    return loading.Adapter(**wire.decode(reply["adapter"]))


def _load(process, task, implementation, arrays, limit):
    return process.exchange({"task": task, "implementation": implementation, "arrays": arrays}, limit)


def _lost(lost, limit, doing=""):
    seconds = limit if lost.kind == "timeout" else 0.0
    return Outcome(lost.kind, error=Raised(lost.kind.capitalize(), f"{doing}{lost}"), seconds=seconds)


def _shapes(value):
    """Shapes and dtypes of all arrays of a problem, hashable."""
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype.str)
    if isinstance(value, dict):
        value = list(value.values())
    return tuple(_shapes(item) for item in value) if isinstance(value, (list, tuple)) else ()
