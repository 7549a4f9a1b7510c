"""Every page of a report in a browser: at any width no table is cut, nothing is fetched, nothing fails."""

import html
import json
import re
import shutil
import subprocess

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from synlib.report import curves, figures, site, tables, verdicts, widgets
from synlib.report.style import CLASS_COLORS
from synlib.spec import ScheduleSpec
from tests.fake_results import FakeStudy

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HEADLESS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom")
WIDTHS = (1920, 1400, 390)
MEASURE = """
const frames = document.getElementsByTagName("iframe");
onload = () => setTimeout(() => { document.title = JSON.stringify([...frames].map(frame => {
  const page = frame.contentDocument, root = page.documentElement;
  const cut = [...page.querySelectorAll("table, img, pre")].filter(item => {
    let seen = item.getBoundingClientRect().right <= root.clientWidth + 1;
    for (let box = item; box; box = box.parentElement) seen ||= getComputedStyle(box).overflowX == "auto";
    return !seen;
  });
  const looks = [...page.querySelectorAll("td")].map(cell => getComputedStyle(cell));
  const bars = new Set(looks.filter(look => look.backgroundImage != "none").map(look => look.backgroundSize));
  const hidden = [...page.querySelectorAll(".output")].filter(box => box.scrollWidth > box.clientWidth + 1);
  const needless = hidden.filter(box => box.querySelector("table").offsetWidth <= box.clientWidth);
  return {bars: [...bars], needless: needless.length, wide: root.scrollWidth - root.clientWidth,
          cut: cut.map(item => item.outerHTML.slice(0, 200)),
          tables: page.querySelectorAll("table").length, pictures: [...page.images].filter(i => i.naturalWidth).length};
})) }, 500)
"""
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """All tables and one figure of each kind, from made-up results of three seeds."""
    folder, study = tmp_path_factory.mktemp("report"), FakeStudy((0, 1, 2), resamples=20)
    judged = verdicts.table(verdicts.verdicts(study.results, study.draws))
    names = {"table1": "table1", "table2": "removal", "table3": "amounts", "table4": "amounts", "table5": "steps"}
    shown = [getattr(tables, name)(study.results[of]) for name, of in names.items()]
    shown += [tables.shown(pd.DataFrame({"wider than text, narrower than a page " * 4: [1]}))]
    shown += [judged, tables.per_class(study.results["fine_tuning"]), figures.figure1(study.results)]
    shown += [widgets.Tooltips(curves.figure6(study.results["fine_tuning"], ScheduleSpec()))]
    columns = [("image_000000_000000", "some words", [widgets.jpeg(np.zeros((240, 480, 3), np.uint8))])] * 3
    shown += [widgets.Explorer([], lambda: widgets.HTML.explorer(columns, CLASS_COLORS, 0.5))]
    outputs = [new_output("execute_result", data(item)) for item in shown]
    cells = [new_markdown_cell("# 1 · First"), new_code_cell("1", outputs=outputs)]
    nbformat.write(new_notebook(cells=cells), folder / "01_harmonization.ipynb")
    (folder / "of").mkdir()
    judged.tables["claims"].to_csv(folder / "of/claims.csv", index=False)
    shown[-3].savefig(folder / "of/figure1.png")
    site.build(folder, ["01_harmonization"], profile="demo", command="run", figures=folder / "of", now=[])
    return folder


def data(shown) -> dict:
    """What a notebook keeps of it."""
    if hasattr(shown, "_repr_mimebundle_"):
        return shown._repr_mimebundle_()
    return {"text/html": shown.to_html()} if hasattr(shown, "to_html") else {"text/plain": "a figure"}


@pytest.fixture(scope="module")
def browser():
    """Opens a page and returns what it has become; skips where Chromium is installed and does not start."""

    def opened(address: str, *options: str) -> subprocess.CompletedProcess:
        return subprocess.run([CHROMIUM, *HEADLESS, *options, address], capture_output=True, text=True, timeout=180)

    tried = opened("data:text/html,<p>it starts</p>")
    if "it starts" not in tried.stdout:
        pytest.skip(f"Chromium does not start here: {tried.stderr[-200:]}")
    return opened


@pytest.mark.parametrize("name", ["index.html", "01_harmonization.html"])
def test_no_table_is_cut_and_nothing_is_fetched_at_any_width(report, browser, name):
    page = html.escape((report / name).read_text())
    frames = "".join(f'<iframe width="{width}" height="900" srcdoc="{page}"></iframe>' for width in WIDTHS)
    (report / "all.html").write_text(f"<body>{frames}<script>{MEASURE}</script></body>")
    ended = browser((report / "all.html").as_uri(), "--enable-logging=stderr", "--virtual-time-budget=5000")
    assert not [line for line in ended.stderr.splitlines() if "CONSOLE" in line]
    found = json.loads(html.unescape(re.search("<title>(.*?)</title>", ended.stdout)[1]))
    for width, of_width in zip(WIDTHS, found, strict=True):
        assert of_width["wide"] <= 0 and of_width["cut"] == [], width
        assert of_width["tables"] and of_width["pictures"]
        assert of_width["needless"] == 0  # scrolls: a wide table takes the page first
        assert len(of_width["bars"]) == (name != "index.html")  # of AP by class: one scale, however wide the columns
