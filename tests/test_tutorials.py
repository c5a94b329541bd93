"""Every tutorial is a plain script: it runs headless, warns of nothing, and asserts its own claims."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the tutorials draw with matplotlib")
pytest.importorskip("sklearn", reason="the tutorials read the digits of scikit-learn")
pytest.importorskip("autograd", reason="the tutorials compare derivatives with autograd's")

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = sorted((ROOT / "tutorials").glob("plot_*.py"))


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_runs_as_a_script(script, tmp_path):
    # plt.show() says that there is no screen; nothing else may warn
    quiet = ["-W", "error", "-W", "ignore:FigureCanvasAgg is non-interactive"]
    done = subprocess.run(
        [sys.executable, *quiet, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,  # they take at most 20 s on two cores; the rest is for a busy machine
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    left = {path.name for path in tmp_path.iterdir()} - {".hypothesis"}
    assert not left, "a tutorial leaves no files behind"


def test_there_are_tutorials():
    assert len(TUTORIALS) >= 4


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_asserts_and_has_an_exercise(script):
    text = script.read_text()
    assert len(re.findall(r"^assert ", text, flags=re.MULTILINE)) >= 3
    assert "# Break it\n" in text
    assert "# Exercise\n" in text
