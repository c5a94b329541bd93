"""The command line: what is printed, what is written, and the exit status."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from refprune import __version__, cli, testing
from refprune.testing.isolation import Runner

ROOT = str(Path(__file__).parents[1])
RIGHT = """
import numpy as np


def topk_mask(scores, keep):
    mask = np.zeros(scores.size, bool)
    mask[np.argsort(-scores, axis=None, kind="stable")[:keep]] = True
    return mask.reshape(scores.shape)
"""
# on ties the k-th score and all its equals are kept
WRONG = """
import numpy as np


def topk_mask(scores, keep):
    if keep == 0:
        return np.zeros(scores.shape, bool)
    return scores >= np.sort(scores, axis=None)[-keep]
"""
ADAPTER = (
    RIGHT
    + """

def nm_mask(scores, n, m):
    return scores > 0


NAME, VERSION = "mine", "1"
CLAIMS = {"topk-mask": {"dtypes": ["float32"]}, "nm-mask": {}}
"""
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty current directory with three kernels in it."""
    (tmp_path / "cli_right.py").write_text(RIGHT)
    (tmp_path / "cli_wrong.py").write_text(WRONG)
    (tmp_path / "cli_adapter.py").write_text(ADAPTER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(capsys, *words):
    """Exit status, standard output and standard error of `refprune check`."""
    status = cli.main(["check", *map(str, words)])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return status, out, err


# ---------------------------------------------------------------- check


def test_a_right_kernel_passes(capsys):
    status, out, err = check(capsys, "topk-mask", "cli_right:topk_mask", "--examples", 40)
    assert status == 0
    assert err == ""
    assert "topk-mask  cli_right:topk_mask  numpy float64, seed 0" in out
    for name in ("answers", "refuses", "count", "ranked", "repeatable", "invariant"):
        assert f"\n {name} " in out
    assert "pass: 40 cases, 0 failed, 0 undecided." in out
    assert "smallest" not in out


def test_a_wrong_kernel_fails_and_is_explained(capsys):
    status, out, _ = check(capsys, "topk-mask", "cli_wrong:topk_mask", "--examples", 40)
    assert status == 1
    assert "[Tie]" in out
    assert "looks like  at-least-the-kth: " in out
    assert out.splitlines()[-1].startswith("fail: 40 cases, ")
    order = [spec.name for spec in testing.contracts["topk-mask"].checks]
    shown = [line.split()[0] for line in out.splitlines() if line.split()[:1] and line.split()[0] in order]
    table = shown[: len(set(shown))]
    assert table == sorted(table, key=order.index)


def test_the_smallest_case_can_be_pasted(capsys, folder):
    _, out, _ = check(capsys, "topk-mask", "cli_wrong:topk_mask", "--examples", 40)
    lines = out.splitlines()
    code = "\n".join(lines[lines.index("import numpy as np") : -1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "AssertionError" in done.stderr
    assert "topk-mask: fail" in done.stderr


def test_options_may_stand_between_the_operands(capsys):
    status, out, _ = check(capsys, "topk-mask", "--examples", 30, "cli_right:topk_mask", "--seed", 3)
    assert status == 0
    assert "seed 3" in out
    status, out, _ = check(capsys, "--dtype", "float32", "topk-mask", "--examples", 30, "cli_right:topk_mask")
    assert status == 0
    assert "numpy float32" in out


def test_torch(capsys, folder):
    pytest.importorskip("torch")
    (folder / "cli_torch.py").write_text(
        "import torch\ndef topk_mask(scores, keep):\n"
        "    mask = torch.zeros(scores.numel(), dtype=torch.bool)\n"
        "    mask[torch.topk(scores.flatten(), keep).indices] = True\n"
        "    return mask.reshape(scores.shape)\n"
    )
    words = ("topk-mask", "cli_torch:topk_mask", "--examples", 30)
    assert check(capsys, *words, "--arrays", "torch")[0] == 0
    status, out, _ = check(capsys, *words)  # given NumPy arrays it can only raise
    assert status == 1
    assert "cli_torch.py:" in out


def test_several_contracts_are_one_table(capsys):
    status, out, _ = check(capsys, "--adapter", "cli_adapter", "--examples", 30)
    assert status == 1
    table = out.partition("\n\n")[0].partition("contract ")[2]
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines() if line.strip()}
    assert rows["topk-mask"][0] == "pass"
    assert rows["nm-mask"][0] == "fail"
    assert rows["exact-obs"] == ["not", "claimed"]
    assert "2 contracts: 1 pass, 1 fail." in out
    assert "float32" not in out  # nothing is explained where nothing failed


def test_one_contract_of_an_adapter(capsys):
    status, out, _ = check(capsys, "--adapter", "cli_adapter", "topk-mask", "--examples", 30)
    assert status == 0
    assert "numpy float32" in out  # the dtype that it claims
    assert "dtypes=['float32']" in out
    assert "not claimed" not in out


def test_json_and_replay(capsys, folder):
    saved = folder / "report.json"
    words = ("topk-mask", "cli_wrong:topk_mask", "--examples", 40, "--seed", 5, "--json", saved)
    assert check(capsys, *words)[0] == 1
    report = json.loads(saved.read_text())
    failing = {record["case"] for record in report["records"] if record["outcome"] == "fail"}
    assert 0 < len(failing) < 40
    status, out, _ = check(capsys, "--replay", saved)
    assert status == 1
    assert f"fail: {len(failing)} cases, {len(failing)} failed" in out
    assert "seed 5" in out
    status, out, _ = check(capsys, "--replay", saved, "topk-mask", "cli_right:topk_mask")
    assert status == 0
    assert f"pass: {len(failing)} cases, 0 failed" in out


def test_json_of_several_contracts_is_a_list_that_can_be_replayed(capsys, folder):
    saved = folder / "reports.json"
    assert check(capsys, "--adapter", "cli_adapter", "--examples", 30, "--json", saved)[0] == 1
    reports = json.loads(saved.read_text())
    assert [report["contract"] for report in reports] == ["topk-mask", "nm-mask"]
    status, out, _ = check(capsys, "--replay", saved)
    assert status == 1
    assert "nm-mask  cli_adapter:nm_mask" in out


def test_claims(capsys, folder):
    (folder / "cli_zeros.py").write_text(
        "import numpy as np\ndef nm_mask(scores, n, m):\n"
        "    rows, columns = scores.shape\n"
        "    if columns % m: raise ValueError\n"
        "    ranks = scores.reshape(rows, -1, m).argsort(axis=2).argsort(axis=2)\n"
        "    return (ranks >= n).reshape(scores.shape)\n"
    )
    words = ("nm-mask", "cli_zeros:nm_mask", "--examples", 30)
    status, out, _ = check(capsys, *words)
    assert status == 1
    assert "n-read-as-zeros" in out
    status, out, _ = check(
        capsys, *words, "--claim", "n_counts=zeros", "--claim", 'columns={"multiple_of": 4}'
    )
    assert status == 0
    assert "n_counts=zeros" in out


def test_undecided_is_a_status_of_its_own(capsys, monkeypatch):
    records = [testing.Record(0, ("Tie",), "greedy", "undecided", 1.0, 2.0, "the gap is below the bound")]
    settings = {"arrays": "numpy", "dtype": "float64", "seed": 0, "claims": {}}
    report = testing.Report("obs", "m:f", settings, records, [])
    monkeypatch.setattr(testing, "run", lambda *a, **k: report)
    status, out, _ = check(capsys, "obs", "m:f")
    assert status == 3
    assert "undecided: 1 cases, 0 failed, 1 undecided." in out
    assert "the gap is below the bound" in out


def test_bad_kernels_are_one_failure_each_and_the_run_goes_on(capsys, folder):
    (folder / "cli_bad.py").write_text(
        RIGHT.replace("    mask = np", "    if keep == 1: __import__('os')._exit(3)\n    mask = np")
    )
    status, out, err = check(capsys, "topk-mask", "cli_bad:topk_mask", "--examples", 40)
    assert status == 1
    assert "the process ended itself with exit status 3" in out
    assert "fail: 40 cases" in out
    assert err == ""


def test_too_many_timeouts_end_the_run(capsys, folder, monkeypatch):
    (folder / "cli_hangs.py").write_text("import time\ndef topk_mask(scores, keep):\n    time.sleep(3600)\n")
    monkeypatch.setattr(
        sys.modules["refprune.testing.session"], "Runner", lambda *a, **k: Runner(*a, **k, warmup_timeout=0.3)
    )
    status, out, _ = check(capsys, "topk-mask", "cli_hangs:topk_mask", "--examples", 30, "--timeout", 0.2)
    assert status == 1
    assert "fail: 3 cases, 3 failed, 0 undecided, 27 not run." in out


def test_rungs_above_a_broken_one_are_not_reached(capsys, folder):
    (folder / "cli_text.py").write_text("def topk_mask(scores, keep):\n    return 'text'\n")
    status, out, _ = check(capsys, "topk-mask", "cli_text:topk_mask", "--examples", 30)
    assert status == 1
    row = next(line for line in out.splitlines() if line.startswith(" ranked"))
    assert row.split() == ["ranked", "not", "reached"]
    assert "got str 'text'" in out


# ---------------------------------------------------------------- what cannot run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["obs"], "need CONTRACT module:function, or --adapter MODULE; got obs"),
        ([], "got nothing"),
        (["a", "b", "c"], "got a b c"),
        (["exact_obs", "m:f"], "'exact_obs': no contract of this name; did you mean exact-obs?"),
        (["zzz", "m:f"], "`refprune list` shows all"),
        (["obs", "cli_nowhere:f"], "importing 'cli_nowhere' raised ModuleNotFoundError"),
        (["obs", "cli_right:f"], "need 'f' in module 'cli_right'; it has topk_mask"),
        (["obs", "cli_right.py:f"], "need module:function such as cli_right:f, no file"),
        (["obs", "cli_right"], "need module:function such as my_kernels:prune; got 'cli_right'"),
        (["obs", "m:f", "--claim", "n_count=zeros"], "obs: need a known claim"),
        (["obs", "m:f", "--claim", "n_counts=maybe"], "obs: need claim n_counts to be one of"),
        (["obs", "m:f", "--claim", 'dtypes=["float32"]'], "need --dtype in float32, as claimed; got float64"),
        (["obs", "m:f", "--json", "no/such/folder"], "need a file that can be written for --json"),
        (["--adapter", "cli_right"], "it lacks NAME, VERSION, CLAIMS"),
        (["--adapter", "cli_adapter", "obs"], "need a claim on obs in cli_adapter; got none"),
        (["--adapter", "cli_adapter", "topk-mask", "--dtype", "float64"], "need --dtype in float32"),
        (["--replay", "cli_right.py"], "need a file written by --json"),
        (["--replay", "nothing.json"], "need a file written by --json"),
        (["--replay", "x", "--seed", "1"], "need no --seed with --replay"),
        (["--replay", "x", "--claim", "a=b"], "need no --claim with --replay"),
        (["--replay", "x", "obs"], "need --replay FILE alone, or with CONTRACT module:function"),
    ],
)
def test_one_clear_line_and_status_2(capsys, words, message):
    status, out, err = check(capsys, *words)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--examples", "0"], "need an integer >= 1; got 0"),
        (["--examples", "-3"], "need an integer >= 1; got -3"),
        (["--timeout", "0"], "need seconds > 0; got 0"),
        (["--timeout", "soon"], "need seconds > 0; got soon"),
        (["--timeout", "nan"], "need seconds > 0; got nan"),
        (["--claim", "n_counts"], "need KEY=VALUE such as count_rule=floor; got n_counts"),
        (["--arrays", "lists"], "invalid choice: 'lists'"),
        (["--dtype", "int8"], "invalid choice: 'int8'"),
        (["--zzz"], "unrecognized arguments: --zzz"),
    ],
)
def test_usage(capsys, words, message):
    status, _, err = check(capsys, "obs", "m:f", *words)
    assert status == 2
    assert message in err


def test_adapters_that_claim_what_is_not_there(capsys, folder):
    for claims, message in (
        ("{}", "need a claim on some contract"),
        ("{'exact-ob': {}}", "did you mean exact-obs"),
    ):
        name = f"cli_claims_{len(claims)}"
        (folder / f"{name}.py").write_text(f"NAME = VERSION = ''\nCLAIMS = {claims}\ndef exact_ob(*a): ...\n")
        status, _, err = check(capsys, "--adapter", name)
        assert status == 2
        assert message in err


def test_a_report_without_failures_has_nothing_to_replay(capsys, folder):
    saved = folder / "good.json"
    assert check(capsys, "topk-mask", "cli_right:topk_mask", "--examples", 30, "--json", saved)[0] == 0
    status, _, err = check(capsys, "--replay", saved)
    assert status == 2
    assert "need a failing case to replay" in err


def test_without_rich(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "refprune.console", raising=False)
    monkeypatch.setitem(sys.modules, "rich", None)
    status, _, err = check(capsys, "obs", "m:f")
    assert status == 2
    assert err == 'refprune check needs rich: pip install "refprune[check]"\n'
    assert cli.main(["list"]) == 0


def test_demo_without_its_packages(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert cli.main(["demo"]) == 2
    assert capsys.readouterr().err == 'refprune demo needs scikit-learn: pip install "refprune[demo]"\n'


def test_interrupt(capsys, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(testing, "run", interrupted)
    status, out, err = check(capsys, "obs", "m:f")
    assert (status, out, err) == (130, "", "interrupted\n")


def test_the_path_is_as_before(capsys):
    before = list(sys.path)
    check(capsys, "topk-mask", "cli_right:topk_mask", "--examples", 30)
    check(capsys, "topk-mask", "cli_nowhere:f")
    assert sys.path == before


# ---------------------------------------------------------------- list, demo, version


def test_list(capsys):
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out.splitlines()
    for name, contract in testing.contracts.items():
        assert any(line.split(None, 1) == [name, contract.signature] for line in out)


@pytest.mark.parametrize("name", list(testing.contracts))
def test_list_one_contract(capsys, name):
    contract = testing.contracts[name]
    assert cli.main(["list", name]) == 0
    out = capsys.readouterr().out
    assert out.startswith(contract.signature)
    for text in (*contract.promises, *contract.readings, *(mistake.summary for mistake in contract.mistakes)):
        assert text in out
    compile(out.partition("\nan implementation\n")[2].replace("\n    ", "\n").strip(), name, "exec")


def test_list_mistakes(capsys):
    assert cli.main(["list", "topk-mask", "--mistakes", "--examples", "30"]) == 0
    out = capsys.readouterr().out
    for mistake in testing.contracts["topk-mask"].mistakes:
        assert mistake.name in out
    assert "killed" in out


def test_list_mistakes_is_quiet_about_nonsense():
    done = command("list", "gram", "--mistakes", "--examples", "30", capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_list_of_an_unknown_contract(capsys):
    assert cli.main(["list", "wand"]) == 2
    assert capsys.readouterr().err == "'wand': no contract of this name; did you mean wanda?\n"
    assert cli.main(["list", "wanda", "obs"]) == 2


def test_demo_is_given_its_words(monkeypatch):
    demo = pytest.importorskip("refprune.demo")
    seen = []
    monkeypatch.setattr(demo, "main", lambda out, quick: seen.append((out, quick)) or 1)
    assert cli.main(["demo"]) == 1
    assert cli.main(["demo", "--out", "here", "--quick"]) == 1
    assert seen == [("refprune-demo", False), ("here", True)]


def test_version_and_help(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"refprune {__version__}\n"
    assert cli.main(["check", "--help"]) == 0
    assert "refprune check --adapter MODULE" in capsys.readouterr().out
    assert cli.main([]) == 2


# ---------------------------------------------------------------- as a process


def command(*words, **options):
    """`python -m refprune` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": ROOT}
    return subprocess.run(
        [sys.executable, "-m", "refprune", *words], env=environment, text=True, check=False, **options
    )


def test_process_statuses():
    quiet = {"capture_output": True}
    done = command("check", "topk-mask", "cli_right:topk_mask", "--examples", "30", **quiet)
    assert (done.returncode, done.stderr) == (0, "")  # no bar where there is no terminal
    assert "pass: 30 cases" in done.stdout
    assert command("check", "topk-mask", "cli_wrong:topk_mask", "--examples", "30", **quiet).returncode == 1
    done = command("check", "topk-mask", "nowhere:f", **quiet)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_bar_on_a_terminal_and_none_in_the_output():
    ours, theirs = pty.openpty()
    done = command(
        "check", "topk-mask", "cli_right:topk_mask", "--examples", "30", stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    drawn = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "topk-mask" in drawn
    assert "30/30" in drawn
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_stops_is_no_error(unbuffered):
    with subprocess.Popen(
        [sys.executable, "-m", "refprune", "list", "obs"],
        env={**os.environ, "PYTHONPATH": ROOT, "PYTHONUNBUFFERED": unbuffered},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
