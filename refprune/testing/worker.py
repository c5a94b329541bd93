"""The process that an implementation lives in: read a case, carry it out, send the reply, until the end.

It is started by `process`, imports NumPy and the package of the arrays it is asked for, and talks over two
pipes of its own, so that nothing the implementation prints is taken for an answer.
"""

import contextlib
import faulthandler
import os
import signal
import sys

from refprune.testing import calling, kinds, loading, wire

GRACE = 60  # seconds after its limit at which a worker ends itself, should nobody be left to end it


def serve(requests, answers):
    """Load what the first message names and answer every further message; ends the process.

    Parameters
    ----------
    requests, answers : int
        File descriptors to read from and to write to.
    """
    sys.argv[1:] = []
    for descriptor in (requests, answers):
        os.set_inheritable(descriptor, False)
    faulthandler.enable()
    home = os.getpid()
    function, kind, reply = _load(_receive(requests))
    while True:
        if os.getpid() != home:  # a child that the implementation forked and that came back here
            os._exit(0)
        _flush()
        _send(answers, reply)
        request = _receive(requests)
        if request is None:
            os._exit(0)
        signal.alarm(int(request["limit"]) + GRACE)
        reply = _answer(function, kind, request)
        signal.alarm(0)
        reply["id"] = request["id"]


def _load(first):
    """The implementation, its kind of arrays, and the first reply."""
    reply = {"id": 0, "kind": "ready", "error": None}
    try:
        kinds.require(first["arrays"])
        if first["task"] == "adapter":
            reply["adapter"] = wire.encode(vars(loading.adapter(first["implementation"])))
            return None, first["arrays"], reply
        return loading.load(first["implementation"]), first["arrays"], reply
    except BaseException as error:
        reply.update(kind="error", error=calling.raised(error))
        return None, first["arrays"], reply


def _answer(function, kind, request):
    try:
        return calling.perform(function, wire.decode(request["problem"]), request["calls"], kind)
    except BaseException as error:  # arrays that cannot be made, an answer that cannot be read
        nothing = {
            "answers": [],
            "products": [],
            "mutated": [],
            "aliased": [],
            "wrong_kind": [],
            "seconds": 0.0,
        }
        return {"kind": "error", "error": calling.raised(error), **nothing}


def _flush():
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _receive(descriptor):
    header = _read(descriptor, wire.HEADER.size)
    return None if header is None else wire.unpack(_read(descriptor, wire.length(header)))


def _read(descriptor, count):
    """Exactly `count` bytes; None when the pipe is at its end."""
    data = bytearray()
    while len(data) < count:
        chunk = os.read(descriptor, min(count - len(data), 2**20))
        if not chunk:
            return None
        data += chunk
    return bytes(data)


def _send(descriptor, reply):
    data = memoryview(wire.pack(reply))
    while data:
        data = data[os.write(descriptor, data) :]
