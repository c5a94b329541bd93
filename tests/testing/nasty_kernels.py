"""Implementations that misbehave, each in one way; `test_isolation` runs them in a worker."""

import ctypes
import dataclasses
import os
import signal
import sys
import threading
import time
import warnings

import numpy as np

CALLS = []


def good(weight, keep):
    """Twice the weight: what a well-behaved neighbour answers after every nasty one."""
    return 2.0 * weight


def by_keyword(weight, *, keep):
    """Takes the second argument by name only."""
    return weight * keep


class Callable:
    """A class whose instances are called; the instance lives as long as the worker."""

    def __init__(self):
        self.count = 0

    def __call__(self, weight, keep):
        """The number of calls so far."""
        self.count += 1
        return self.count


def raises(weight, keep):
    """An ordinary exception."""
    raise ValueError(f"need keep <= 1; got {keep}")


def raises_badly(weight, keep):
    """An exception that cannot be shown."""

    class Bad(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    raise Bad


def raises_linalg(weight, keep):
    """An exception with a module in its name."""
    return np.linalg.inv(np.zeros((2, 2)))


def calls_exit(weight, keep):
    """sys.exit is an exception."""
    sys.exit(3)


def interrupts(weight, keep):
    """So is this."""
    raise KeyboardInterrupt


def os_exit(weight, keep):
    """Ends the process without a word."""
    os._exit(7)


def os_exit_zero(weight, keep):
    """Ends the process as if all were well."""
    print("bye", flush=True)
    os._exit(0)


def segfault(weight, keep):
    """Reads address 0."""
    return ctypes.string_at(0)


def killed(weight, keep):
    """As the kernel does for lack of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(weight, keep):
    """Sleeps for an hour."""
    time.sleep(3600)


def hangs_deaf(weight, keep):
    """Hangs with every signal that can be ignored ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(1)


def hangs_holding_the_gil(weight, keep):
    """A C function that never returns and never lets another thread run."""
    ctypes.PyDLL(None).sleep(3600)


def floods_stdout(weight, keep):
    """Prints without end."""
    while True:
        print("x" * 1000)


def floods_stderr(weight, keep):
    """Writes to descriptor 2 without end."""
    while True:
        os.write(2, b"y" * 4096)


def floods_once(weight, keep):
    """Prints 2 MiB, then answers."""
    sys.stdout.write("z" * 2**21)
    return weight * 2


def chats(weight, keep):
    """Prints less than a flood, on both streams and in several ways."""
    print("a" * 100_000)
    print("b" * 100_000, file=sys.stderr)
    os.write(1, b"rfp1\x00\x00\x00\x00")
    return weight * 2


def closes_streams(weight, keep):
    """Closes descriptors 1 and 2, and Python's streams."""
    os.close(1)
    os.close(2)
    sys.stdout.close()
    return weight * 2


def closes_all(weight, keep):
    """Closes every descriptor, the runner's too."""
    os.closerange(3, 256)
    return weight * 2


def writes_everywhere(weight, keep):
    """Writes rubbish into every descriptor, the runner's pipe too."""
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b"rubbish that is longer than a header")
        except OSError:
            continue
    return weight * 2


def forks_and_returns(weight, keep):
    """Both the parent and a child come back with an answer."""
    os.fork()
    return weight * 2


def forks_and_dies(weight, keep):
    """Dies; a child lives on and holds the pipes open."""
    if os.fork() == 0:
        time.sleep(3600)
    os._exit(1)


class Unpicklable:
    """Refuses to be pickled."""

    def __reduce__(self):
        raise TypeError("not me")


def unpicklable(weight, keep):
    """An object that cannot be sent."""
    return Unpicklable()


class Shy:
    """Refuses to be shown, compared or asked for attributes."""

    def __repr__(self):
        raise RuntimeError("no")

    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None

    def __getattr__(self, name):
        raise RuntimeError(name)


def shy(weight, keep):
    """An object whose repr raises."""
    return Shy()


def wrong_types(weight, keep):
    """Nothing that a contract asks for."""
    return {"weight": "text", "mask": {1, 2}, 3: None, "order": [object()], "f": lambda: 0}


def generator(weight, keep):
    """A generator function where a function is meant."""
    yield weight


def endless_list(weight, keep):
    """A list that holds itself."""
    loop = []
    loop.append(loop)
    return loop


def object_array(weight, keep):
    """An array of Python objects."""
    return np.array([object(), None])


def giant(weight, keep):
    """An array of 8 TB that takes no memory."""
    return np.broadcast_to(np.float64(1), (10**6, 10**6))


def many_items(weight, keep):
    """A list longer than any answer."""
    return [0.0] * 2_000_000


def mutates(weight, keep):
    """Works in place."""
    weight[0] = 0.0
    return weight.copy()


def mutates_and_raises(weight, keep):
    """Works in place, then gives up."""
    weight *= 2
    raise ValueError("too late")


def mutates_list(batches, keep):
    """Empties the list that it was given."""
    batches.pop()
    return 1.0


def mutates_shape(weight, keep):
    """Changes the shape of the caller's array."""
    weight.resize((2, 3), refcheck=False)
    return 1.0


def mutates_gap(weight, keep):
    """Writes beside the entries of a strided array, as a kernel that ignores strides does."""
    flat = np.ndarray((weight.size,), weight.dtype, weight.base)
    flat[1] = 5.0
    return 1.0


def same_bits(weight, keep):
    """Writes what was there already: not a change that anyone can see."""
    weight[...] = weight.copy()
    return 1.0


def returns_input(weight, keep):
    """The input itself."""
    return weight, weight != 0


def returns_view(weight, keep):
    """A view through reshape, transpose and a slice."""
    return {"weight": weight.reshape(2, -1).T[1:, ::-1], "mask": np.ones(3, bool)}


def returns_every_other(weight, keep):
    """A new array whose memory interleaves nothing of the input."""
    return weight[::2].copy()


def reuses_buffer(weight, keep):
    """The same array for every call, overwritten: the first answer must be read before the second call."""
    if not CALLS:
        CALLS.append(np.zeros_like(weight))
    CALLS[0] += 1
    return CALLS[0]


def recursion(weight, keep):
    """No end."""
    return recursion(weight, keep)


def memory(weight, keep):
    """More than there is."""
    return np.empty(2**50)


def warns(weight, keep):
    """Warns and answers."""
    warnings.warn("careful", stacklevel=1)
    return weight * 2


def leaves_threads(weight, keep):
    """Leaves a thread behind that is not a daemon."""
    threading.Thread(target=time.sleep, args=(3600,)).start()
    return weight * 2


def alarm(weight, keep):
    """Uses the timer that the worker uses, and changes handlers."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *a: None)
    signal.alarm(1)
    return weight * 2


def nan(weight, keep):
    """All NaN."""
    return np.full_like(weight, np.nan)


def zero_d(weight, keep):
    """0-d array, NumPy scalars, Python scalars."""
    return [np.array(1.5), np.float32(0.5), np.int64(3), np.True_, 2, 1j, None, "text"]


def half(weight, keep):
    """The dtype of the input."""
    return weight.astype(np.float16)


def matrix(weight, keep):
    """An odd subclass."""
    return np.ma.masked_array(weight * 2, mask=weight > 0)


@dataclasses.dataclass(frozen=True)
class Pruned:
    """Has the fields of refprune's own answers."""

    weight: np.ndarray
    mask: np.ndarray
    objective: float | None = None
    order: np.ndarray | None = None
    trace: tuple = ()
    scores: object = None


def pruned(weight, keep):
    """A record."""
    return Pruned(weight * 2, weight > 0, objective=np.float64(0.25), trace=(1, 2))


def layout(weight, keep):
    """What the array looks like."""
    return [
        weight.flags.c_contiguous,
        weight.flags.f_contiguous,
        weight.flags.writeable,
        list(weight.strides),
    ]


def types(batches, keep):
    """Types of everything, inside lists too."""
    return [type(batches).__name__, [type(b).__name__ for b in batches], type(keep).__name__]


def reads_stdin(weight, keep):
    """Asks the user."""
    return input()


def environment(weight, keep):
    """Threads and paths."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "JAX_ENABLE_X64")
    return {name: os.environ.get(name) for name in names} | {"cwd": os.getcwd(), "argv": sys.argv}


def loaded(weight, keep):
    """Packages that the worker has imported."""
    heavy = ("torch", "jax", "cupy", "rich", "hypothesis", "scipy", "refprune", "refprune.testing")
    return [name for name in heavy if name in sys.modules]


def uses_refprune(weight, keep):
    """refprune as a library, and a module that the worker itself uses."""
    import refprune.testing

    foreign = refprune.testing.wire.foreign(1)
    return [refprune.NM(2, 4).n, isinstance(foreign, refprune.testing.isolation.Foreign)]


def slow(weight, keep):
    """Takes a third of a second."""
    time.sleep(0.35)
    return weight * 2


def process_id(weight, keep):
    """Who is this?"""
    return os.getpid()


def kind(weight, keep):
    """What arrived."""
    return f"{type(weight).__module__}.{type(weight).__name__}"


def to_numpy(weight, keep):
    """NumPy whatever the input."""
    return [np.asarray(weight), weight]


def torch_view(weight, keep):
    """A view of a tensor, and its strides."""
    return {"weight": weight.reshape(-1)[1:], "strides": list(weight.stride())}


def torch_inplace(weight, keep):
    """In place on a tensor."""
    weight.mul_(2)
    return weight.clone()


def torch_odd(weight, keep):
    """Tensors that NumPy cannot hold, and one that wants its gradient."""
    import torch

    return [weight.to(torch.bfloat16), weight.to_sparse(), weight.clone().requires_grad_(), torch.tensor(2.0)]


def numpy_gives_torch(weight, keep):
    """Another kind than asked."""
    import torch

    return torch.from_numpy(weight), weight > 0


def x64(weight, keep):
    """The dtype that JAX works in."""
    return weight * 2
