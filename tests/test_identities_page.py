"""The page of identities: its tests are there, and its picture is the script's and can be read."""

import ast
import importlib
import re
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/identities.rst").read_text()
TESTS = ROOT / "tests/methods/test_identities_across.py"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("make_identities_picture")


def test_the_page_names_every_test_of_its_file_and_no_other():
    functions = {node.name for node in ast.parse(TESTS.read_text()).body if isinstance(node, ast.FunctionDef)}
    named = set(re.findall(r"(?<!/)\b(test_\w+)", PAGE))  # behind a slash is the file
    assert named == {name for name in functions if name.startswith("test_")}


def test_each_of_the_seven_has_its_reason_its_test_and_its_limit():
    sections = re.split(r"\n(?=\d\. .*\n-+\n)", PAGE)[1:]
    assert [section[0] for section in sections] == list("1234567")
    for number, section in enumerate(sections, 1):
        assert re.search(r"^\.\. math::", section, re.M), number
        assert "*Why.*" in section, number
        assert "*Nearly.*" in section, number
        assert f":pyobject: test_{number}_" in section, number


def test_the_pictures_are_those_of_the_script(script):
    for name, palette in (("light", script.LIGHT), ("dark", script.DARK)):
        assert (ROOT / f"docs/_static/identities-{name}.svg").read_text() == script.picture(palette)


def test_the_picture_has_all_seven_numbers_and_points_at_boxes(script):
    assert {arrow.number for arrow in script.ARROWS} - {""} == set("1234567")
    for arrow in script.ARROWS:
        for end, edge in ((arrow.top, lambda box: box.y + box.height), (arrow.bottom, lambda box: box.y)):
            assert [
                box for box in script.BOXES if box.x < arrow.x < box.x + box.width and edge(box) == end
            ], arrow


def apart(a, b):
    """Whether two rectangles (left, top, right, bottom) have nothing in common."""
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def inside(a, b):
    """Whether the rectangle `a` is within `b`."""
    return b[0] < a[0] and b[1] < a[1] and a[2] < b[2] and a[3] < b[3]


def test_no_words_overlap_or_leave_their_place(script):
    texts = script.texts()
    for one, other in combinations(texts, 2):
        assert apart(one.box, other.box), (one.words, other.words)
    for box in script.BOXES:
        for text in box.texts:
            assert inside(text.box, (box.x, box.y, box.x + box.width, box.y + box.height)), text.words
    for text in texts:
        assert inside(text.box, (0, 0, script.WIDTH, script.HEIGHT)), text.words
        assert text.size >= 12
        for arrow in script.ARROWS:  # a number stands on its own arrow
            line = (arrow.x - 1, arrow.top, arrow.x + 1, arrow.bottom)
            assert text.words == arrow.number or apart(text.box, line), (text.words, arrow.x)


def test_no_arrow_runs_through_a_box(script):
    for arrow in script.ARROWS:
        line = (arrow.x, arrow.top, arrow.x, arrow.bottom)
        for box in script.BOXES:
            assert apart((box.x, box.y, box.x + box.width, box.y + box.height), line), (box.name, arrow.x)


def contrast(one, other):
    """The ratio of luminances of WCAG 2."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return parts[0] * 0.2126 + parts[1] * 0.7152 + parts[2] * 0.0722

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_words_stand_out_from_what_is_behind_them(script):
    for palette in (script.LIGHT, script.DARK):
        for name, (fill, line, text) in palette.items():
            assert contrast(fill, text) >= 4.5, name
            assert contrast(palette["ink"][0], line) >= 3, name
