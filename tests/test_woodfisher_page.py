"""What the page on WoodFisher says: its code runs."""

import re
import textwrap
from pathlib import Path

PAGES = Path(__file__).resolve().parents[1] / "docs"


def test_the_code_on_the_page_runs():
    text = (PAGES / "woodfisher.rst").read_text()
    blocks = re.findall(r"code-block:: python\n\n((?:   .*\n|\n)+)", text)
    assert len(blocks) == 5
    exec("\n".join(map(textwrap.dedent, blocks)), {})  # it asserts its own claims
