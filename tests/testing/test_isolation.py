"""Whatever an implementation does, a call gives one explained outcome and the next call works."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from refprune.testing import wire
from refprune.testing.isolation import Foreign, Outcome, Runner, describe
from refprune.testing.loading import LoadError

HERE = Path(__file__).parent
W = np.array([1.0, -2.0, 3.0, 0.0, 5.0, -6.0])


@pytest.fixture(autouse=True)
def _kernels(monkeypatch):
    """The worker gets this process's sys.path."""
    monkeypatch.syspath_prepend(str(HERE))


def run(name, weight=W, keep=1, **options):
    """One call in a fresh worker, and the outcome of a second one to show that the runner goes on."""
    calls = options.pop("calls", 1)
    with Runner(f"nasty_kernels:{name}", **{"timeout": 5.0, **options}) as runner:
        return runner.call({"weight": weight, "keep": keep}, calls)


def assert_goes_on(first):
    """`first` misbehaves on the first call; a worker that replaces it, or it itself, answers the next."""
    with Runner("nasty_switch:switch", timeout=0.5, warmup_timeout=3.0) as runner:
        good = {"name": "good", "weight": W, "keep": 1}
        assert runner.call(good).kind == "answer"
        outcome = runner.call({"name": first, "weight": W, "keep": 1})
        after = runner.call(good)
        assert after.kind == "answer"
        np.testing.assert_array_equal(after.answers[0], 2 * W)
    return outcome


@pytest.fixture
def switch(tmp_path, monkeypatch):
    """An implementation that picks a nasty kernel by its first argument."""
    (tmp_path / "nasty_switch.py").write_text(
        "import nasty_kernels\n"
        "def switch(name, weight, keep):\n    return getattr(nasty_kernels, name)(weight, keep)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


CASES = {
    "raises": ("error", "ValueError: need keep <= 1; got 1 (nasty_kernels.py:"),
    "raises_badly": ("error", "<its message raised RuntimeError>"),
    "raises_linalg": ("error", "numpy.linalg.LinAlgError: Singular matrix"),
    "calls_exit": ("error", "SystemExit: 3"),
    "interrupts": ("error", "KeyboardInterrupt"),
    "os_exit": ("crash", "ended itself with exit status 7"),
    "os_exit_zero": ("crash", "exit status 0; it said: bye"),
    "segfault": ("crash", "signal 11 (SIGSEGV)"),
    "killed": ("crash", "signal 9 (SIGKILL, often for lack of memory)"),
    "hangs": ("timeout", "no answer within 0.5 s"),
    "hangs_deaf": ("timeout", "no answer within"),
    "hangs_holding_the_gil": ("timeout", "no answer within"),
    "floods_stdout": ("flood", "printed more than 1 MiB in one call; it said: xxx"),
    "floods_stderr": ("flood", "printed more than 1 MiB"),
    "floods_once": ("flood", "printed more than 1 MiB"),
    "closes_all": ("crash", "ended itself"),
    "writes_everywhere": ("crash", "pipe"),
    "forks_and_dies": ("crash", "exit status 1"),
    "recursion": ("error", "RecursionError"),
    "memory": ("error", "MemoryError"),
    "reads_stdin": ("error", "EOFError"),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("switch")
def test_failure_is_one_explained_outcome_and_the_next_call_works(name):
    outcome = assert_goes_on(name)
    kind, text = CASES[name]
    assert outcome.kind == kind
    assert text in str(outcome.error)
    assert outcome.answers == ()


@pytest.mark.parametrize(
    "name", ["chats", "closes_streams", "forks_and_returns", "warns", "leaves_threads", "alarm"]
)
@pytest.mark.usefixtures("switch")
def test_bad_manners_that_do_not_matter(name):
    outcome = assert_goes_on(name)
    assert outcome.kind == "answer"
    np.testing.assert_array_equal(outcome.answers[0], 2 * W)


def test_segfault_names_the_line():
    assert "nasty_kernels.py" in str(run("segfault").error)


@pytest.mark.parametrize(
    ("name", "type_name"),
    [
        ("unpicklable", "nasty_kernels.Unpicklable"),
        ("shy", "nasty_kernels.Shy"),
        ("generator", "generator"),
        ("object_array", "numpy.ndarray"),
        ("giant", "numpy.ndarray"),
        ("many_items", "list"),
    ],
)
def test_what_cannot_be_sent_is_described(name, type_name):
    outcome = run(name)
    assert outcome.kind == "answer"
    assert isinstance(outcome.answers[0], Foreign)
    assert outcome.answers[0].type_name == type_name
    assert len(outcome.answers[0].repr) <= wire.REPR


def test_endless_list_is_cut():
    value, depth = run("endless_list").answers[0], 0
    while isinstance(value, list):
        value, depth = value[0], depth + 1
    assert depth == wire.DEPTH
    assert isinstance(value, Foreign)


def test_wrong_types_keep_their_names():
    answer = run("wrong_types").answers[0]
    assert answer["weight"] == "text"
    assert answer["mask"] == Foreign("set", "{1, 2}")
    assert answer["3"] is None
    assert isinstance(answer["order"][0], Foreign)
    assert answer["f"].type_name == "function"


@pytest.mark.parametrize("isolate", [True, False])
def test_mutation_is_named(isolate):
    assert run("mutates", isolate=isolate).mutated == ("weight",)
    assert run("mutates_shape", isolate=isolate).mutated == ("weight",)
    assert run("good", isolate=isolate).mutated == ()
    assert run("same_bits", isolate=isolate).mutated == ()
    late = run("mutates_and_raises", isolate=isolate)
    assert (late.kind, late.mutated) == ("error", ("weight",))


@pytest.mark.parametrize("isolate", [True, False])
def test_the_callers_arrays_are_never_touched(isolate):
    weight = W.copy()
    run("mutates", weight, isolate=isolate)
    np.testing.assert_array_equal(weight, W)


def test_mutated_list_and_nan_inputs():
    with Runner("nasty_kernels:mutates_list") as runner:
        assert runner.call({"batches": [W, W + 1], "keep": 1}).mutated == ("batches",)
    assert run("good", np.array([np.nan, -0.0])).mutated == ()


def test_write_between_strided_entries_is_a_mutation():
    strided = np.arange(12.0)[::2]
    assert run("mutates_gap", strided).mutated == ("weight",)
    assert run("good", strided).mutated == ()


@pytest.mark.parametrize("isolate", [True, False])
def test_aliasing_is_named(isolate):
    assert run("returns_input", isolate=isolate).aliased == ("weight",)
    assert run("returns_view", isolate=isolate).aliased == ("weight",)
    assert run("good", isolate=isolate).aliased == ()
    assert run("returns_every_other", isolate=isolate).aliased == ()


def test_aliasing_view_arrives_as_returned():
    answer = run("returns_view").answers[0]
    np.testing.assert_array_equal(answer["weight"], W.reshape(2, -1).T[1:, ::-1])
    assert answer["mask"].dtype == bool


def test_every_answer_is_read_before_the_next_call():
    outcome = run("reuses_buffer", calls=3)
    assert [float(a[0]) for a in outcome.answers] == [1.0, 2.0, 3.0]


def test_the_worker_and_its_instance_live_over_calls():
    with Runner("nasty_kernels:Callable") as runner:
        assert [runner.call({"weight": W, "keep": 1}).answers[0] for _ in range(3)] == [1, 2, 3]


def test_keyword_only_arguments():
    np.testing.assert_array_equal(run("by_keyword", keep=3).answers[0], 3 * W)


def test_scalars_nan_and_half():
    zero_d, *rest = run("zero_d").answers[0]
    assert zero_d.shape == ()
    assert rest == [0.5, 3, True, 2, 1j, None, "text"]
    assert [type(x) for x in rest] == [float, int, bool, int, complex, type(None), str]
    assert np.isnan(run("nan").answers[0]).all()
    assert run("half", W.astype(np.float16)).answers[0].dtype == np.float16


def test_record_becomes_mapping():
    answer = run("pruned").answers[0]
    assert set(answer) == {"weight", "mask", "objective"}
    assert answer["objective"] == 0.25
    np.testing.assert_array_equal(answer["mask"], W > 0)


def test_odd_subclass_is_another_kind():
    assert run("matrix").wrong_kind == ("answer (numpy.ma.MaskedArray)",)
    assert run("good").wrong_kind == ()


def layouts():
    """Arrays of equal values and different memory."""
    base = np.arange(24.0).reshape(4, 6)
    frozen = base.copy()
    frozen.flags.writeable = False
    return {
        "C": base,
        "F": np.asfortranarray(base),
        "transposed": np.ascontiguousarray(base.T).T,
        "every other": np.repeat(np.repeat(base, 2, axis=0), 3, axis=1)[::2, ::3],
        "reversed": np.ascontiguousarray(base[::-1, ::-1])[::-1, ::-1],
        "frozen": frozen,
        "broadcast": np.broadcast_to(np.arange(6.0), (4, 6)),
        "permuted": np.ascontiguousarray(base.reshape(2, 3, 4).transpose(2, 0, 1)).transpose(1, 2, 0),
        "big-endian": base.astype(">f8"),
        "empty": base[:0],
        "bool": np.repeat(base > 3, 2, axis=0)[::2],
    }


@pytest.mark.parametrize("name", layouts())
def test_layout_arrives(name):
    array = layouts()[name]
    expected = [
        array.flags.c_contiguous,
        array.flags.f_contiguous,
        array.flags.writeable,
        list(array.strides) if array.size else list(np.empty(array.shape).strides),
    ]
    assert run("layout", array).answers[0] == expected
    np.testing.assert_array_equal(wire.decode(wire.encode(array)), array)


def test_sparse_window_into_huge_memory_is_sent_as_contiguous():
    window = np.zeros((2, 100_000))[:, ::50_000]
    assert run("layout", window).answers[0][0] is True


def test_lists_and_scalars_are_passed_through():
    with Runner("nasty_kernels:types") as runner:
        outcome = runner.call({"batches": [W, W[:2]], "keep": 0.5})
    assert outcome.answers[0] == ["list", ["ndarray", "ndarray"], "float"]


def test_timeouts_warm_up_and_shapes():
    """The first call of a shape may take long, the second may not; a new shape may again."""
    with Runner("nasty_kernels:slow", timeout=0.2, warmup_timeout=5.0) as runner:
        problem = {"weight": W, "keep": 1}
        assert runner.call(problem).kind == "answer"
        outcome = runner.call(problem)
        assert (outcome.kind, outcome.seconds) == ("timeout", 0.2)
        assert runner.call({"weight": W[:3], "keep": 1}).kind == "answer"
        assert runner.call({"weight": W.astype(np.float32), "keep": 1}).kind == "answer"


def test_an_endless_kernel_has_one_long_wait():
    with Runner("nasty_kernels:hangs", timeout=0.2, warmup_timeout=1.5) as runner:
        problem = {"weight": W, "keep": 1}
        assert [runner.call(problem).seconds for _ in range(2)] == [1.5, 0.2]
        assert runner.call({"weight": W[:2], "keep": 1}).seconds == 0.2  # it has never answered


def test_a_worker_that_hangs_on_one_shape_may_still_compile_another(switch):
    with Runner("nasty_switch:switch", timeout=0.2, warmup_timeout=1.0) as runner:
        assert runner.call({"name": "good", "weight": W, "keep": 1}).kind == "answer"
        assert runner.call({"name": "hangs", "weight": W[:2], "keep": 1}).seconds == 1.0
        assert runner.call({"name": "slow", "weight": W[:3], "keep": 1}).kind == "answer"


def test_timeout_is_for_each_call():
    with Runner("nasty_kernels:slow", timeout=0.65, warmup_timeout=5.0) as runner:
        runner.call({"weight": W, "keep": 1})
        outcome = runner.call({"weight": W, "keep": 1}, calls=2)
    assert outcome.kind == "answer"
    assert 0.7 <= outcome.seconds < 1.3  # two sleeps of 0.35 s, within two limits


def test_environment_of_the_worker():
    answer = run("environment").answers[0]
    assert answer.pop("cwd") == os.getcwd()
    assert answer.pop("argv") == ["-c"]
    assert set(answer.values()) == {"1"}


def test_worker_is_light():
    assert run("loaded").answers[0] == []


def test_an_implementation_may_use_refprune():
    """The packages that the worker left out are there in full for who asks."""
    assert run("uses_refprune").answers[0] == [2, True]


def test_a_call_costs_less_than_a_millisecond():
    problem = {"weight": np.ones((8, 8)), "keep": 1}
    with Runner("nasty_kernels:good") as runner:
        runner.call(problem)
        times = []
        for _ in range(200):
            start = time.perf_counter()
            runner.call(problem)
            times.append(time.perf_counter() - start)
    assert np.median(times) < 1e-3  # 0.1 ms measured; ten times that for a busy machine


def test_big_arrays_go_through_small_pipes():
    weight = np.arange(2_000_000.0)
    outcome = run("good", weight)
    np.testing.assert_array_equal(outcome.answers[0], 2 * weight)


def test_worker_ends_with_the_runner():
    with Runner("nasty_kernels:process_id") as runner:
        pid = runner.call({"weight": W, "keep": 1}).answers[0]
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    runner.close()


def test_children_end_with_the_runner(tmp_path, monkeypatch):
    (tmp_path / "nasty_child.py").write_text(
        "import subprocess, sys\n"
        "def start(weight, keep):\n"
        "    return subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with Runner("nasty_child:start") as runner:
        pid = runner.call({"weight": W, "keep": 1}).answers[0]
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(pid)


def alive(pid):
    """Whether a process runs; a zombie that nobody has waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_worker_ends_when_its_parent_is_killed():
    code = (
        "import os, numpy as np\n"
        "from refprune.testing.isolation import Runner\n"
        "runner = Runner('nasty_kernels:process_id').__enter__()\n"
        "print(runner.call({'weight': np.ones(1), 'keep': 1}).answers[0], flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    pid, deadline = int(done.stdout), time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(pid)


def test_interrupt_ends_the_worker(switch):
    before = signal.signal(signal.SIGALRM, raise_interrupt)
    try:
        with Runner("nasty_switch:switch") as runner:
            pid = runner.call({"name": "process_id", "weight": W, "keep": 1}).answers[0]
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                runner.call({"name": "hangs", "weight": W, "keep": 1})
            assert not alive(pid)
            assert runner.call({"name": "good", "weight": W, "keep": 1}).kind == "answer"
    finally:
        signal.signal(signal.SIGALRM, before)


def raise_interrupt(*_):
    """What Ctrl-C does."""
    raise KeyboardInterrupt


# ---------------------------------------------------------------- loading

BROKEN = {
    "nowhere:f": ("ModuleNotFoundError: No module named 'nowhere'", ""),
    "broken_raises:f": ("ZeroDivisionError: division by zero (broken_raises.py:1", "1 / 0\n"),
    "broken_syntax:f": ("SyntaxError", "def f(:\n"),
    "broken_exit:f": ("called sys.exit(4)", "import sys\nsys.exit(4)\n"),
    "broken_dies:f": ("exit status 5", "import os\nos._exit(5)\n"),
    "broken_hangs:f": ("no answer within 1 s", "import time\ntime.sleep(3600)\n"),
    "broken_floods:f": ("more than 1 MiB", "while True: print('x' * 1000)\n"),
    "broken_empty:f": ("need 'f' in module 'broken_empty'", "g = 1\n"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_loading_that_fails_is_one_outcome_and_one_error(name, tmp_path, monkeypatch):
    text, source = BROKEN[name]
    if source:
        (tmp_path / f"{name.partition(':')[0]}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    runner = Runner(name, timeout=0.5, warmup_timeout=1.0)
    outcome = runner.call({"weight": W, "keep": 1})
    assert outcome.kind in ("error", "timeout", "crash", "flood")
    assert text in str(outcome.error)
    assert "\n" not in str(outcome.error)
    with pytest.raises(LoadError) as error, runner:
        pass
    assert text in str(error.value)


def test_a_module_that_is_repaired_works_again(tmp_path, monkeypatch):
    file = tmp_path / "broken_once.py"
    file.write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    runner = Runner("broken_once:f")
    assert runner.call({"weight": W}).kind == "error"
    file.write_text("def f(weight):\n    return 1\n")
    with runner:
        assert runner.call({"weight": W}).answers == (1,)


def test_implementation_as_a_callable():
    import nasty_kernels

    with Runner(nasty_kernels.good) as runner:
        np.testing.assert_array_equal(runner.call({"weight": W, "keep": 1}).answers[0], 2 * W)
    with pytest.raises(ValueError, match="isolate=False"):
        Runner(lambda weight: weight)
    with Runner(lambda weight: weight * 2, isolate=False) as runner:
        np.testing.assert_array_equal(runner.call({"weight": W}).answers[0], 2 * W)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arrays": "list"}, "need arrays in numpy, torch, jax, cupy; got 'list'"),
        ({"timeout": 0}, "need timeout > 0 seconds; got 0"),
        ({"warmup_timeout": float("inf")}, "need warmup_timeout > 0 seconds; got inf"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Runner("nasty_kernels:good", **options)


def test_problem_that_cannot_be_sent_is_the_callers_error():
    with Runner("nasty_kernels:good") as runner, pytest.raises(TypeError, match="need arrays, numbers"):
        runner.call({"weight": object()})


# ---------------------------------------------------------------- in this process


@pytest.mark.parametrize(
    "name", ["raises", "raises_badly", "raises_linalg", "calls_exit", "recursion", "memory"]
)
def test_exceptions_in_process(name):
    outcome = run(name, isolate=False)
    assert outcome.kind == "error"
    assert CASES[name][1] in str(outcome.error)


def test_interrupt_in_process_is_the_users():
    with pytest.raises(KeyboardInterrupt):
        run("interrupts", isolate=False)


def test_in_process_gives_the_same_outcomes():
    for name in ("good", "zero_d", "pruned", "wrong_types", "returns_view", "half"):
        here, there = run(name, isolate=False), run(name)
        assert repr(here.answers).partition(" at 0x")[0] == repr(there.answers).partition(" at 0x")[0]
        assert (here.kind, here.aliased, here.mutated) == (there.kind, there.aliased, there.mutated)
    assert isinstance(here, Outcome)


# ---------------------------------------------------------------- other kinds of arrays


def test_torch(switch):
    pytest.importorskip("torch")
    with Runner("nasty_switch:switch", arrays="torch") as runner:

        def call(name, weight=W):
            return runner.call({"name": name, "weight": weight, "keep": 1})

        assert call("kind").answers == ("torch.Tensor",)
        outcome = call("torch_view", np.asfortranarray(W.reshape(2, 3)))
        assert outcome.answers[0]["strides"] == [1, 2]
        assert (outcome.aliased, outcome.wrong_kind) == ((), ())  # reshape of a transposed tensor copies
        assert call("torch_view").aliased == ("weight",)
        assert call("torch_inplace").mutated == ("weight",)
        assert call("returns_input").aliased == ("weight",)
        mixed = call("to_numpy")
        assert mixed.wrong_kind == ("answer[0] (numpy.ndarray)",)
        assert mixed.aliased == ("weight",)
        frozen = W.copy()
        frozen.flags.writeable = False
        for array in (frozen, W[::-1], W[:0], np.arange(24.0).reshape(4, 6)[::2, ::3]):
            np.testing.assert_array_equal(call("good", array).answers[0], 2 * array)
        bfloat16, sparse, gradient, scalar = call("torch_odd").answers[0]
        assert isinstance(bfloat16, Foreign)
        assert "torch.bfloat16 that NumPy cannot read" in bfloat16.repr
        assert isinstance(sparse, Foreign)
        np.testing.assert_array_equal(gradient, W)
        assert scalar.shape == ()


def test_torch_where_numpy_was_asked():
    pytest.importorskip("torch")
    other = run("numpy_gives_torch")
    assert (other.wrong_kind, other.aliased) == (("answer[0] (torch.Tensor)",), ("weight",))
    np.testing.assert_array_equal(other.answers[0][0], W)


def test_jax_works_in_64_bit():
    pytest.importorskip("jax")
    outcome = run("x64", arrays="jax")
    assert outcome.kind == "answer"
    assert outcome.answers[0].dtype == np.float64
    assert outcome.wrong_kind == ()


CUPY = """
import numpy as np

class ndarray:
    def __init__(self, host):
        self.host = host
        self.shape, self.dtype = host.shape, host.dtype
    def get(self):
        return self.host.copy()
    def __array__(self, *args, **options):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

def array(host):
    return ndarray(np.array(host))

def shares_memory(a, b):
    return np.shares_memory(a.host, b.host)
"""


def test_cupy_through_a_stand_in(tmp_path, monkeypatch):
    """No GPU is needed to see that arrays are moved explicitly, both ways."""
    (tmp_path / "cupy.py").write_text(CUPY)
    (tmp_path / "nasty_gpu.py").write_text(
        "import cupy\n"
        "def doubled(weight, keep):\n    return cupy.ndarray(weight.host * 2), weight.host > 0\n"
        "def view(weight, keep):\n    return cupy.ndarray(weight.host[1:])\n"
        "def inplace(weight, keep):\n    weight.host[0] = 9\n    return weight\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def call(name):
        with Runner(f"nasty_gpu:{name}", arrays="cupy") as runner:
            return runner.call({"weight": W, "keep": 1})

    doubled = call("doubled")
    np.testing.assert_array_equal(doubled.answers[0][0], 2 * W)
    assert doubled.wrong_kind == ("answer[1] (numpy.ndarray)",)
    assert (doubled.aliased, doubled.mutated) == ((), ())
    assert call("view").aliased == ("weight",)
    assert call("inplace").mutated == ("weight",)


def test_a_gpu_fault_replaces_the_worker(tmp_path, monkeypatch):
    (tmp_path / "nasty_fault.py").write_text(
        "import os\ndef f(fault):\n"
        "    if fault: raise RuntimeError('CUDA error: an illegal memory access was encountered')\n"
        "    return os.getpid()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with Runner("nasty_fault:f") as runner:
        first = runner.call({"fault": False}).answers[0]
        assert runner.call({"fault": False}).answers[0] == first
        assert runner.call({"fault": True}).kind == "error"
        assert runner.call({"fault": False}).answers[0] != first


def test_a_missing_package_cannot_be_loaded(tmp_path, monkeypatch):
    (tmp_path / "cupy.py").write_text("raise ImportError('no GPU here')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with (
        pytest.raises(
            LoadError, match=r"need the package cupy for arrays='cupy' \(pip install .*no GPU here"
        ),
        Runner("nasty_kernels:good", arrays="cupy"),
    ):
        pass


# ---------------------------------------------------------------- adapters


def test_describe_reads_an_adapter_without_importing_it_here(tmp_path, monkeypatch):
    (tmp_path / "some_adapter.py").write_text(
        "NAME, VERSION = 'mine', '2'\nCLAIMS = {'nm-mask': {'n_counts': 'zeros'}, 'obs': None}\n"
        "def nm_mask(scores, n, m): ...\ndef obs(weight, hessian, keep): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    adapter = describe("some_adapter")
    assert (adapter.name, adapter.version) == ("mine", "2")
    assert adapter.claims == {"nm-mask": {"n_counts": "zeros"}, "obs": {}}
    assert adapter.implementation("nm-mask") == "some_adapter:nm_mask"
    assert "some_adapter" not in sys.modules


def test_describe_a_module_that_dies(tmp_path, monkeypatch):
    (tmp_path / "dying_adapter.py").write_text("import os\nos._exit(9)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(LoadError, match="exit status 9"):
        describe("dying_adapter")
