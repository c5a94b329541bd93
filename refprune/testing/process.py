"""One worker process: start it, exchange messages within a limit, drain what it prints, end it.

POSIX only: the pipes are handed over by number. The worker leads a session of its own, so that it and
everything it started can be killed together.
"""

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

from refprune.testing import wire

FLOOD = 2**20  # bytes that one call may print
TICK = 0.1  # seconds between looks at whether the process lives, should a forked child hold its pipe open
KEPT = 4000  # bytes of the output kept for the explanation
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "JAX_ENABLE_X64": "1",
}
FRAME = re.compile(r'File "(.*)", line (\d+) in (.*)')  # of a stack printed by `faulthandler`
# Not `-m`: that would put the current directory before everything else and so change what names mean.
# The worker's few modules are imported without the two packages around them (a third of a second), and leave
# no trace: an implementation that uses refprune imports it in full.
START = """
import sys, types
sys.path[:] = sys.argv[4:]
for name, folder in ("refprune", "."), ("refprune.testing", "testing"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [sys.argv[3] + "/" + folder]
from refprune.testing.worker import serve
for name in [name for name in sys.modules if name.partition(".")[0] == "refprune"]:
    del sys.modules[name]
serve(int(sys.argv[1]), int(sys.argv[2]))
"""
PACKAGE = str(Path(__file__).resolve().parents[1])


class Lost(Exception):
    """The worker gave no reply; `kind` is "timeout", "crash" or "flood" and the message one sentence."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class Process:
    """A worker process, alive from the start until `stop`."""

    def __init__(self):
        if os.name != "posix":
            raise OSError("need a POSIX system for isolate=True; isolate=False runs in this process")
        theirs_in, self._requests = os.pipe()
        self._answers, theirs_out = os.pipe()
        path = [entry or os.getcwd() for entry in sys.path]
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(theirs_in), str(theirs_out), PACKAGE, *path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **ENVIRONMENT},
            pass_fds=(theirs_in, theirs_out),
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._selector = selectors.DefaultSelector()
        self._outputs = [self._process.stdout.fileno(), self._process.stderr.fileno()]
        for descriptor in (self._requests, self._answers, *self._outputs):
            os.set_blocking(descriptor, False)
        for descriptor in (self._answers, *self._outputs):
            self._selector.register(descriptor, selectors.EVENT_READ)
        self._printed, self._tail = 0, b""

    def exchange(self, message, limit):
        """Send a message and return the reply.

        Raises
        ------
        Lost
            No whole reply within `limit` seconds, the process ended, or it printed more than `FLOOD` bytes.
            The process is stopped then.
        """
        try:
            return self._exchange(memoryview(wire.pack(message)), limit)
        except BaseException:
            self.stop()
            raise

    def _exchange(self, out, limit):
        deadline = time.monotonic() + limit
        self._printed, self._tail = 0, b""
        inbox, need = bytearray(), None
        out = self._write(out)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Lost("timeout", f"no answer within {limit:g} s")
            events = self._selector.select(min(left, TICK))
            ready = {key.fd for key, _ in events}
            self._drain([fd for fd in self._outputs if fd in ready])
            if self._requests in ready:
                out = self._write(out)
            if self._answers in ready:
                chunk = self._read(self._answers)
                if chunk == b"":
                    raise self._ended()
                inbox += chunk or b""
                if need is None and len(inbox) >= wire.HEADER.size:
                    need = self._length(inbox)
                if need is not None and len(inbox) >= need:
                    self._drain(self._outputs)
                    return self._unpack(inbox)
            elif not events and self._process.poll() is not None:
                raise self._ended()

    def _write(self, out):
        """Write what the pipe takes now; watch the pipe as long as something is left."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            while out:
                out = out[os.write(self._requests, out) :]
        watched = self._requests in self._selector.get_map()
        if out and not watched:
            self._selector.register(self._requests, selectors.EVENT_WRITE)
        elif watched and not out:
            self._selector.unregister(self._requests)
        return out

    def _drain(self, descriptors):
        for descriptor in descriptors:
            while chunk := self._read(descriptor):
                self._printed += len(chunk)
                self._tail = (self._tail + chunk)[-KEPT:]
                if self._printed > FLOOD:
                    raise Lost("flood", f"printed more than {FLOOD // 2**20} MiB in one call{self._said()}")
            if chunk == b"" and descriptor in self._outputs:
                self._outputs.remove(descriptor)
                self._selector.unregister(descriptor)

    def _read(self, descriptor):
        """A chunk; b"" at the end of the pipe, None when there is nothing now."""
        try:
            return os.read(descriptor, 2**16)
        except BlockingIOError:
            return None

    def _length(self, inbox):
        try:
            return wire.HEADER.size + wire.length(inbox[: wire.HEADER.size])
        except ValueError:
            raise Lost("crash", "something else than the worker wrote to its pipe") from None

    def _unpack(self, inbox):
        try:
            return wire.unpack(bytes(inbox[wire.HEADER.size :]))
        except Exception:
            raise Lost("crash", "the worker's reply cannot be read") from None

    def _ended(self):
        try:
            code = self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            return Lost("crash", "the process closed its pipe to the runner")
        with contextlib.suppress(Lost):
            self._drain(list(self._outputs))
        if code >= 0:
            return Lost("crash", f"the process ended itself with exit status {code}{self._said()}")
        hint = ", often for lack of memory" if -code == signal.SIGKILL else ""
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "a real-time signal"
        return Lost("crash", f"the process died with signal {-code} ({name}{hint}){self._said()}")

    def _said(self):
        """The place that Python's fault handler reported, else the last line that was printed."""
        text = self._tail.decode(errors="replace")
        frames = [match.groups() for match in FRAME.finditer(text) if "/refprune/testing/" not in match[1]]
        if frames:
            path, line, name = next((f for f in frames if "/lib/python" not in f[0]), frames[0])
            return f" at {path.rpartition('/')[2]}:{line} in {name}"
        lines = text.split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"; it said: {said[:200]}" if said else ""

    def stop(self):
        """End the process and everything in its session; safe to call twice."""
        if self._process.returncode is not None and self._requests is None:
            return
        for descriptor in (self._requests, self._answers):
            if descriptor is not None:
                os.close(descriptor)
        self._requests = self._answers = None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._selector.close()
        self._process.stdout.close()
        self._process.stderr.close()
