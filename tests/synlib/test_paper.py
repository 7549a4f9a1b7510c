"""The published numbers against a transcription of the paper's tables that was made independently."""

from pathlib import Path

import pandas as pd
import pytest

from synlib import paper
from synlib.report.frames import published
from synlib.report.tables import best_within

TRANSCRIBED = Path(__file__).with_name("paper_tables.txt").read_text()
ON = ("Synscapes", "Cityscapes")


def rows_of(number):
    """The cells of a transcribed table, one list per row, without the heading."""
    block = TRANSCRIBED.split(f"\nTable {number}. ")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.split("|")] for line in block.splitlines()[2:]]


def in_k(number):
    return f"{number // 1000}k"


def test_the_tables_are_as_transcribed():
    assert rows_of(1) == [[trained, *(f"{aps[on]}%" for on in ON)] for trained, aps in paper.TABLE1.items()]
    rows = {(label, on): paper.TABLE2[approach][on] for approach, label in paper.APPROACHES.items() for on in ON}
    printed = [[label * (on == ON[0]), on, *map(str, aps.values())] for (label, on), aps in rows.items()]
    assert rows_of(2) == printed
    assert rows_of(3) == [[str(epochs), *map(str, row.values())] for epochs, row in paper.TABLE3.items()]
    heading = TRANSCRIBED.split("Training epochs | ")[1].splitlines()[0].split("|")
    assert all([in_k(added) for added in row] == [cell.strip() for cell in heading] for row in paper.TABLE3.values())
    printed = [[in_k(budget), str(ap), f"3k/{in_k(added)}"] for budget, (ap, added) in paper.TABLE4.items()]
    assert [row[:3] for row in rows_of(4)] == printed
    assert rows_of(5) == [[paper.STEPS[step], *(str(row[on]) for on in ON)] for step, row in paper.TABLE5.items()]


def test_table4_follows_from_table3_but_for_its_first_row():
    best = best_within(published()["amounts"], list(paper.TABLE4))
    table4 = pd.DataFrame(paper.TABLE4.values(), columns=["ap", "added"])
    differs = (best[["ap", "added"]] != table4).any(axis=1).tolist()
    assert differs == [len(row) > 3 for row in rows_of(4)] == [True] + 5 * [False]
    assert (best["ap"][0], best["taken"][0]) == (36.2, pytest.approx(18_594, abs=1))


def test_the_text_agrees_with_itself():
    """The best learning rates are one effective rate; the budget rule."""
    effective = {lr / (1 - momentum) for momentum, lr in paper.BEST_LEARNING_RATE.items()}
    assert [round(value, 9) for value in effective] == [0.005] * len(effective)
    assert paper.BASELINE["learning_rate"] / (1 - paper.BASELINE["momentum"]) == pytest.approx(0.1)
    assert 80_000 * paper.BATCH_SIZE / 50 - paper.IMAGES["Cityscapes"] == 9825
    with pytest.raises(AttributeError, match="the paper's TABLE9: expected one of BATCH_SIZE, "):
        _ = paper.TABLE9
