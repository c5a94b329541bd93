"""How the scripts beside it store the tables of the pages."""

import csv
from pathlib import Path


def store(name, lines):
    """Print every line as it comes, and write all of them to the file `name` in this folder."""
    with Path(__file__).with_name(name).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        for line in lines:
            print(*line, sep=", ", flush=True)
            table.writerow(line)
