"""The published numbers against a transcription of the paper's tables that was made independently."""

from pathlib import Path

import pandas as pd
import pytest

from synlib import paper
from synlib.curation.mix import composition_for_budget
from synlib.report.tables import best_within

TRANSCRIBED = Path(__file__).with_name("paper_tables.txt").read_text()


def rows_of(number):
    """The cells of a transcribed table, a list a row, without its heading."""
    block = TRANSCRIBED.split(f"\nTable {number}. ")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.split("|")] for line in block.splitlines()[2:]]


def thousands(text):
    return 1000 * int(text.removesuffix("k"))


def test_table1():
    transcribed = {
        (trained, on): float(ap.removesuffix("%"))
        for trained, *aps in rows_of(1)
        for on, ap in zip(("Synscapes", "Cityscapes"), aps, strict=True)
    }
    assert transcribed == paper.TABLE1


def test_table2():
    transcribed, label = {}, ""
    short = {label: approach for approach, label in paper.APPROACHES.items()}
    for first, on, off, on_ap in rows_of(2):
        label = first or label
        transcribed[short[label], on] = {"off": float(off), "on": float(on_ap)}
    assert transcribed == paper.TABLE2


def test_table3():
    amounts = [
        thousands(cell.strip()) for cell in TRANSCRIBED.split("Training epochs | ")[1].splitlines()[0].split("|")
    ]
    transcribed = {
        int(epochs): dict(zip(amounts, map(float, aps), strict=True)) for epochs, *aps in rows_of(3)
    }  # fmt: skip
    assert transcribed == paper.TABLE3


def test_table4():
    transcribed = {
        thousands(budget): (float(ap), thousands(composition.split("/")[1]))
        for budget, ap, composition, *_ in rows_of(4)
    }
    assert transcribed == paper.TABLE4


def test_table5():
    steps = {label: step for step, label in paper.STEPS.items()}
    transcribed = {
        steps[label]: {"Synscapes": float(first), "Cityscapes": float(second)} for label, first, second in rows_of(5)
    }
    assert transcribed == paper.TABLE5


@pytest.mark.parametrize("row", rows_of(4), ids=lambda row: row[0])
def test_table4_follows_from_table3_but_for_one_row(row):
    budget, ap, composition, *documented = row
    (best,) = best_within(pd.DataFrame(paper.table3_rows()), [thousands(budget)]).to_dict("records")
    same = (best["ap"], best["added"]) == (float(ap), thousands(composition.split("/")[1]))
    assert same != bool(documented)


def test_the_first_row_of_table4_is_the_inconsistent_one():
    (best,) = best_within(pd.DataFrame(paper.table3_rows()), [20_000]).to_dict("records")
    assert best["ap"] == 36.2
    assert best["taken"] == pytest.approx(18_594, abs=1)


def test_tables_agree_where_they_show_the_same_run():
    for on in ("Synscapes", "Cityscapes"):
        assert paper.TABLE5["basic"][on] == paper.TABLE1["Cityscapes", on]
        assert paper.TABLE5["3k"][on] == paper.TABLE1["Synscapes", on]
        assert paper.TABLE5["20k"][on] == paper.TABLE2["pre-training", on]["off"]
        assert paper.TABLE5["pruned"][on] == paper.TABLE2["pre-training", on]["on"]
        assert paper.TABLE5["optimized"][on] == paper.TABLE2["fine-tuning", on]["on"]
    assert paper.TABLE3[50][20_000] == paper.TABLE2["mixing", "Cityscapes"]["on"]


def test_best_learning_rates_are_one_effective_rate():
    effective = {lr / (1 - momentum) for momentum, lr in paper.BEST_LEARNING_RATE.items()}
    assert [round(value, 9) for value in effective] == [0.005] * len(effective)
    assert paper.BASELINE["learning_rate"] / (1 - paper.BASELINE["momentum"]) == pytest.approx(0.1)


def test_the_budget_rule_of_the_text():
    assert composition_for_budget(80_000, real=paper.IMAGES["Cityscapes"]) == (2975, 9825)
