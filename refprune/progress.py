"""A progress bar of plain text on standard error, for long work on every floor; nothing where it is no terminal."""

import contextlib
import sys
import time

WIDTH = 30  # marks of a full bar
PAUSE = 0.1  # seconds between two drawings


@contextlib.contextmanager
def bar(title: str, total: int, wanted: bool = True):
    """A bar for the block; gives the callable `(done, note)` that moves it to `done` of `total`.

    The bar disappears at the end of the block. Nothing is written when it is not `wanted`, or where standard
    error is no terminal.
    """
    if not (wanted and sys.stderr.isatty()):
        yield lambda done, note="": None
        return
    last = -PAUSE

    def move(done, note=""):
        nonlocal last
        now = time.monotonic()
        if now - last < PAUSE and done < total:
            return
        last = now
        marks = round(WIDTH * done / max(total, 1))
        line = f"{title} {'#' * marks}{'.' * (WIDTH - marks)} {done}/{total} {note}"
        sys.stderr.write(f"\r{line.rstrip()}\x1b[K")
        sys.stderr.flush()

    try:
        yield move
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
