"""Writes `_static/identities-light.svg` and `-dark.svg`: which method is a special case of which.

Run it by hand when a method or an identity comes in: `python docs/make_identities_picture.py`.
"""

from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

STATIC = Path(__file__).parent / "_static"
WIDTH, HEIGHT = 972, 580
FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
# family: (fill, line, text)
LIGHT = {
    "model": ("#e7effb", "#3567a8", "#14315c"),
    "hub": ("#3567a8", "#3567a8", "#ffffff"),
    "signal": ("#fdefdc", "#b0701a", "#5c3a0a"),
    "training": ("#e4f3e7", "#37804c", "#17421f"),
    "plain": ("#f0f0f0", "#7a7a7a", "#333333"),
    "ink": ("#ffffff", "#555555", "#333333"),
}
DARK = {
    "model": ("#1b2c44", "#6f9fdc", "#d5e5fb"),
    "hub": ("#6f9fdc", "#6f9fdc", "#0d1b2c"),
    "signal": ("#3d2b12", "#d99b48", "#fae6c9"),
    "training": ("#16331f", "#6fbb84", "#d6f2dd"),
    "plain": ("#2e2e2e", "#9a9a9a", "#e6e6e6"),
    "ink": ("#131416", "#b5b5b5", "#e6e6e6"),
}


@dataclass(frozen=True)
class Text:
    """A line of text; `x` is its middle, or its left end with `anchor` "start"; `y` its baseline."""

    x: float
    y: float
    size: int
    words: str
    family: str
    bold: bool = False
    anchor: str = "middle"

    @property
    def box(self):
        """(left, top, right, bottom), wider than any of the fonts."""
        width = 0.62 * self.size * len(self.words)
        left = self.x if self.anchor == "start" else self.x - width / 2
        return left, self.y - 0.8 * self.size, left + width, self.y + 0.25 * self.size


@dataclass(frozen=True)
class Box:
    """A method: its name, and a line under it."""

    x: float
    y: float
    width: float
    height: float
    family: str
    name: str
    line: str

    @property
    def texts(self):
        """The two lines."""
        x, y = self.x + self.width / 2, self.y + self.height / 2
        size = 17 if self.family == "hub" else 15
        return [
            Text(x, y - 3, size, self.name, self.family, bold=True),
            Text(x, y + 16, size - 3, self.line, self.family),
        ]


@dataclass(frozen=True)
class Arrow:
    """Straight down at `x`, from the general to the special; a number, and what makes it special."""

    x: float
    top: float
    bottom: float
    number: str
    words: tuple[str, ...]
    height: float | None = None

    @property
    def middle(self):
        """Where the number stands: half way, or at `height`."""
        return (self.top + self.bottom) / 2 - 4 if self.height is None else self.height

    @property
    def texts(self):
        """The number, and the words to the right of it."""
        first = self.middle + 4 - 8 * (len(self.words) - 1)
        left = self.x + (17 if self.number else 9)
        lines = [Text(left, first + 16 * i, 13, w, "ink", anchor="start") for i, w in enumerate(self.words)]
        return lines + [Text(self.x, self.middle + 5, 13, self.number, "hub", bold=True)] * bool(self.number)


BOXES = [
    Box(20, 20, 118, 54, "model", "SNOWS", "outputs ahead"),
    Box(152, 20, 118, 54, "model", "SparseGPT", "left to right"),
    Box(284, 20, 118, 54, "model", "ExactOBS", "one by one"),
    Box(416, 20, 118, 54, "model", "CHITA", "a Fisher model"),
    Box(548, 20, 146, 54, "model", "I-OBS", "Newton, project"),
    Box(718, 20, 108, 54, "signal", "CoSaMP", "2k, solve, cut"),
    Box(840, 20, 112, 54, "training", "ProsPr", "after M steps"),
    Box(20, 202, 574, 64, "hub", "the best weights on a support", "group OBS of all the others at once"),
    Box(608, 206, 86, 56, "signal", "HTP", "step, solve"),
    Box(718, 206, 108, 56, "signal", "i-SpaSP", "hidden units"),
    Box(872, 206, 80, 56, "training", "FORCE", "T steps"),
    Box(840, 340, 112, 54, "training", "SNIP", "|w g|"),
    Box(248, 358, 118, 54, "model", "OBD", "H w² / 2"),
    Box(598, 358, 106, 54, "signal", "IHT", "step, cut"),
    Box(20, 504, 684, 56, "plain", "magnitude", "the largest |w|"),
]
ARROWS = [
    Arrow(50, 74, 202, "4", ("horizon 0,", "same inputs")),
    Arrow(182, 74, 202, "3", ("what goes", "is a prefix")),
    Arrow(314, 74, 202, "2", ("all of a set,", "any order")),
    Arrow(446, 74, 202, "1", ("no linear", "term")),
    Arrow(572, 74, 202, "1", ()),
    Arrow(634, 74, 206, "5", ("H = I", "to choose")),
    Arrow(740, 74, 206, "6", ("no solve,", "row sums")),
    Arrow(856, 74, 340, "7", ("M = 0, or", "lr = 0"), height=136),
    Arrow(890, 262, 340, "", ("in one", "step")),
    Arrow(307, 266, 358, "", ("H diagonal",)),
    Arrow(651, 262, 358, "5", ("no solve",)),
    Arrow(307, 412, 504, "", ("H = I",)),
    Arrow(651, 412, 504, "", ("H = I",)),
]
LEGEND = [
    ("model", "a quadratic model"),
    ("signal", "a sparse signal"),
    ("training", "a network in training"),
]


def legend():
    """(boxes of colour, texts) at the right, below."""
    squares = [(750, 420 + 26 * i, family) for i, (family, _) in enumerate(LEGEND)]
    texts = [
        Text(774, y + 12, 13, words, "ink", anchor="start") for (_, y, _), (_, words) in zip(squares, LEGEND)
    ]
    notes = ("down: the special case,", "and what makes it one")
    return squares, texts + [
        Text(774, 514 + 17 * i, 13, words, "ink", anchor="start") for i, words in enumerate(notes)
    ]


def texts():
    """All that is written."""
    return [text for thing in (*BOXES, *ARROWS) for text in thing.texts] + legend()[1]


def rectangle(x, y, width, height, colours):
    """A box with round corners."""
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{colours[0]}"'
        f' stroke="{colours[1]}" stroke-width="1.5"/>'
    )


def down(x, top, bottom, colours):
    """A line with a head."""
    return (
        f'<line x1="{x}" y1="{top}" x2="{x}" y2="{bottom - 9}" stroke="{colours[1]}" stroke-width="1.8"/>'
        f'<path d="M{x - 5.5} {bottom - 11} L{x + 5.5} {bottom - 11} L{x} {bottom - 1} Z" fill="{colours[1]}"/>'
    )


def picture(palette):
    """The SVG in the colours of `palette`."""
    squares, _ = legend()
    ink, hub = palette["ink"], palette["hub"]
    parts = [rectangle(b.x, b.y, b.width, b.height, palette[b.family]) for b in BOXES]
    for arrow in ARROWS:
        parts.append(down(arrow.x, arrow.top, arrow.bottom, ink))
        if arrow.number:
            parts.append(f'<circle cx="{arrow.x}" cy="{arrow.middle}" r="11" fill="{hub[0]}"/>')
    parts += [
        rectangle(x, y, 15, 15, palette[family]).replace('rx="8"', 'rx="3"') for x, y, family in squares
    ]
    parts.append(down(757.5, 500, 538, ink))
    for text in texts():
        bold = ' font-weight="bold"' if text.bold else ""
        parts.append(
            f'<text x="{text.x}" y="{text.y:g}" font-size="{text.size}" text-anchor="{text.anchor}"'
            f' fill="{palette[text.family][2]}"{bold}>{escape(text.words)}</text>'
        )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="{FONT}">'
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def main() -> None:
    """Write both pictures."""
    for name, palette in (("light", LIGHT), ("dark", DARK)):
        (STATIC / f"identities-{name}.svg").write_text(picture(palette))


if __name__ == "__main__":
    main()
