"""The report: one folder that asks no server for anything, with everything that the notebooks show."""

import base64
import re
from html import unescape
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from synlib.report import site
from synlib.report.verdicts import COLUMNS
from tests.pages import Resources

WIDGET = "application/vnd.jupyter.widget-view+json"
NAMES = ["01_first", "02_second"]


@pytest.fixture
def report(tmp_path, monkeypatch):
    """The folder of a report: of two notebooks the first is executed and holds every kind of output; and figures."""
    monkeypatch.setattr(site, "SOURCES", tmp_path)
    nbformat.write(new_notebook(cells=[new_markdown_cell("# 2 · Second")]), tmp_path / "02_second.ipynb")
    picture = base64.b64encode(cv2.imencode(".png", np.zeros((30, 600), np.uint8))[1].tobytes()).decode()
    outputs = [
        new_output("execute_result", {"image/png": picture, "text/plain": "<Figure>"}),
        new_output("execute_result", {"text/html": "<style>td {color: red}</style><b>bold</b>", "text/plain": "BOLD"}),
        new_output("display_data", {WIDGET: {"model_id": "1"}, "text/html": "<i>still</i>", "text/plain": "VBox()"}),
        new_output("display_data", {"application/javascript": "alert(1)", "text/plain": "plain words"}),
        new_output("stream", name="stdout", text="a < b"),
        new_output("stream", name="stderr", text="a warning"),
    ]
    cells = [
        new_markdown_cell("# 1 · Cars & <b>riders</b>\n\nText, [elsewhere](https://example.org/page)."),
        new_markdown_cell("**Question.** Is *this*\nso?\n\n**Method.** None."),
        new_markdown_cell("## A figure"),
        new_code_cell("print('a' < 'b')", outputs=outputs),
    ]
    notes = {"start_time": "2026-01-02T03:03:00+00:00", "end_time": "2026-01-02T03:04:05+00:00", "duration": 65.2}
    # Without its key ``state``, as some programs save it
    state = {"application/vnd.jupyter.widget-state+json": {"version_major": 2, "version_minor": 0}}
    folder = tmp_path / "reports" / "demo"
    folder.mkdir(parents=True)
    notebook = new_notebook(cells=cells, metadata={"papermill": notes, "widgets": state})
    nbformat.write(notebook, folder / "01_first.ipynb")
    figures = tmp_path / "figures"
    figures.mkdir()
    for name in ("b.png", "b.pdf", "b.csv", "a.png", "notes.txt"):
        (figures / name).write_text(name)
    rows = [
        ("4.2", "Figure 5", "<mixing>", "AP points", 1.26, -0.04, -1.0, 1.5, "not decided", "one seed", "abc def"),
        ("4.3", "Table 2", "tuning", "percent", np.nan, 3.0, 2.0, 4.0, "holds", "one seed", "abc"),
    ]
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(figures / "claims.csv", index=False)
    monkeypatch.setattr(site, "SUMMARY", NAMES[0])
    build(folder, command="run & go")
    return folder


def build(folder, command="", figures="figures", now=NAMES):
    """The report, with figures of a folder beside ``reports``."""
    site.build(folder, NAMES, profile="demo", command=command, figures=folder.parents[1] / figures, now=now)


@pytest.mark.parametrize("page", ["index.html", "01_first.html"])
def test_a_page_asks_no_server_for_anything_and_its_links_lead_to_files(report, page):
    html = (report / page).read_text()
    resources = Resources(html)
    assert [item for item in resources.found if not item.startswith(("data:", "figures/"))] == []
    assert all((report / item).is_file() for item in resources.found if not item.startswith("data:"))
    assert not {"script", "link", "iframe", "object", "embed"} & set(resources.tags)
    assert "default-src 'none'" in html
    inside = [link for link in resources.links if not link.startswith("https://")]
    assert inside and all((report / link.partition("#")[0]).exists() for link in inside)
    places = {unescape(place) for place in re.findall(r'id="([^"]*)"', html)}
    assert {link[1:] for link in inside if link.startswith("#")} <= places


def test_the_page_shows_outputs_folds_code_has_a_title_and_fits_a_phone(report):
    head, _, html = (report / "01_first.html").read_text().partition("<body>")
    folded = re.findall(r"<details>.*?</details>", html, re.DOTALL)
    assert "<details open" not in html
    assert sum("print" in part for part in folded) == 1
    assert any("a warning" in part for part in folded)
    shown = re.sub(r"<details>.*?</details>", "", html, flags=re.DOTALL)
    assert "print" not in shown and "a warning" not in shown
    assert [part for part in ("<b>bold</b>", "<i>still</i>", "plain words", "a &lt; b") if part not in shown] == []
    assert 'alt="A figure"' in shown and "https://example.org/page" in shown
    assert not any(part in html for part in ("VBox", "BOLD", "&lt;Figure", "alert(1)"))
    assert "<title>1 · Cars &amp; &lt;b&gt;riders&lt;/b&gt;</title>" in head
    assert re.search(r"<meta [^>]*width=device-width", head)
    assert "prefers-color-scheme: dark" in head and "@media print" in head
    assert re.search(r"img, svg \{[^}]*max-width: 100%", head)


def test_the_index_lists_notebooks_environment_and_claims(report):
    words = " ".join(" ".join(Resources((report / "index.html").read_text()).text).split())
    assert "Is this so?" in words
    assert "Executed 2026-01-02 03:04 UTC, in 65 s" in words
    assert "2 · Second Not executed" in words
    assert "run & go" in words
    assert "numpy 2" in words
    assert words.count("2 claims: 1 holds, 1 not decided") == 2
    assert "4.2, Figure 5 <mixing> 1.3 0.0 -1.0 – 1.5 ? not decided one seed" in words
    assert '<a href="01_first.html#abc" title="run abc def">0.0</a>' in (report / "index.html").read_text()
    assert "4.3, Table 2 tuning (percent) – 3.0 2.0 – 4.0 ✓ holds one seed" in words
    earlier = pd.read_csv(report / "figures/claims.csv").drop(columns=["because", "runs"])  # of an older version
    earlier.to_csv(report.parents[1] / "figures/claims.csv", index=False)
    build(report)
    html = (report / "index.html").read_text()
    assert "<mixing>" in unescape(html) and "title=" not in html.partition("<table")[2]


def listed(report):
    """Name of each figure and table in the index -> the files of ``figures`` that it links to."""
    links = Resources((report / "index.html").read_text()).links
    files = sorted({Path(link) for link in links if link.startswith("figures/")})
    return {file.stem: [other.name for other in files if other.stem == file.stem] for file in files}


def test_the_index_lists_figures_and_tables_and_loses_those_that_are_gone(report):
    assert {path.name for path in (report / "figures").iterdir()} == {"a.png", "b.csv", "b.pdf", "b.png", "claims.csv"}
    assert listed(report) == {"a": ["a.png"], "b": ["b.csv", "b.pdf", "b.png"], "claims": ["claims.csv"]}
    (report.parents[1] / "figures" / "a.png").unlink()
    build(report)
    assert not (report / "figures" / "a.png").exists()
    assert "a" not in listed(report)


def test_pages_link_their_neighbours_in_order(report):
    first = nbformat.read(report / "01_first.ipynb", as_version=4)
    nbformat.write(first, report / "02_second.ipynb")
    build(report)
    links = [Resources((report / f"{name}.html").read_text()).links for name in NAMES]
    assert "02_second.html" in links[0] and "01_first.html" not in links[0]
    assert "01_first.html" in links[1] and "02_second.html" not in links[1]
    assert all("index.html" in page for page in links)


def test_pages_of_earlier_calls_are_marked_and_keep_their_figures(report, tmp_path):
    """A call for another notebook, with another figure folder."""
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), report / "02_second.ipynb")
    other = tmp_path / "other"
    other.mkdir()
    for name in ("c.png", "c.csv"):
        (other / name).write_text(name)
    build(report, "--only 02", "other", now=["02_second"])
    assert set(listed(report)) == {"a", "b", "c", "claims"}
    html = (report / "index.html").read_text()
    first, second = html.index("01_first.html"), html.index("02_second.html")
    assert html.count("by an earlier call") == 1 and first < html.index("by an earlier call") < second
    (other / "c.csv").unlink()
    build(report, figures="other")
    assert {path.name for path in (report / "figures").iterdir()} == {"c.png"}
    assert "by an earlier call" not in (report / "index.html").read_text()


def test_the_commit_of_a_checkout_and_of_a_plain_folder(tmp_path):
    assert site.commit(tmp_path) == ""
    (tmp_path / ".git").mkdir()  # not a repository that git knows
    assert site.commit(tmp_path) == ""


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cell": 1}', '{"nbformat": 4, "cells": []}'])
def test_an_executed_copy_that_is_no_notebook_is_named(report, content):
    (report / f"{NAMES[0]}.ipynb").write_text(content)
    with pytest.raises(ValueError, match=f"{NAMES[0]}.ipynb: found no notebook .*; execute it again"):
        build(report)
