"""The explorers as a person moves them, and what is left of them where no kernel answers."""

import re

import cv2
import nbformat
import numpy as np
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from synlib.curation.mix import composition_for_budget
from synlib.report import site, widgets

VIEW = "application/vnd.jupyter.widget-view+json"


def parts(explorer, kind: str) -> list:
    """All widgets of a kind inside, in order."""
    found = []
    for child in explorer.children:
        found += parts(child, kind) if hasattr(child, "children") else [child] * (type(child).__name__ == kind)
    return found


def shown(explorer) -> np.ndarray:
    """The picture that the browser gets."""
    (picture,) = parts(explorer, "Image")
    return cv2.imdecode(np.frombuffer(picture.value, np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture
def removal(study):
    return widgets.removal_explorer(study.data)


def numbers(explorer) -> list[list[int]]:
    return [[int(word) for word in re.findall(r"\d+", label.value)] for label in parts(explorer, "Label")]


def test_a_class_slider_hides_instances_of_its_class_only(removal):
    common, *sliders = parts(removal, "IntSlider")
    before, counts = shown(removal), numbers(removal)
    assert all(kept == there for kept, there in counts)
    chosen = next(number for number, (_, there) in enumerate(counts) if there)
    sliders[chosen].value = 100
    after = numbers(removal)
    assert after[chosen] == [0, counts[chosen][1]]
    assert after[:chosen] + after[chosen + 1 :] == counts[:chosen] + counts[chosen + 1 :]
    assert (shown(removal) != before).any()
    sliders[chosen].value = 0
    assert (shown(removal) == before).all()
    assert common.value == 0


def test_the_common_slider_moves_all_and_draws_once(removal):
    common, *sliders = parts(removal, "IntSlider")
    (picture,) = parts(removal, "Image")
    drawn = []
    picture.observe(lambda change: drawn.append(change["new"]), "value")
    common.value = 100
    assert [slider.value for slider in sliders] == [100] * 8
    assert all(kept == 0 for kept, _ in numbers(removal))
    assert len(drawn) == 1


def test_another_image_can_be_chosen(removal, study):
    (chooser,) = parts(removal, "Dropdown")
    assert set(chooser.options) <= set(study.data.images("synthetic", "train")["image_id"])
    before = shown(removal)
    chooser.value = chooser.options[-1]
    assert (shown(removal) != before).any()


def test_the_budget_follows_the_rule_of_the_paper(study):
    explorer = widgets.mixing_explorer(study)
    share, budget, epochs = parts(explorer, "IntSlider")
    by_share, by_budget = (item for item in parts(explorer, "HTML") if "<table" in item.value)
    share.value = 100
    assert re.findall(r"<td>(\d+) %</td>", by_share.value) == ["100", "0"]
    epochs.value, budget.value = 7, 40
    real, synthetic = (len(study.data.images(domain, "train")) for domain in ("real", "synthetic"))
    expected = composition_for_budget(40, batch_size=study.profile.batch_size, epochs=7, real=real, synthetic=synthetic)
    cells = re.findall(r"<td>(.*?)</td>", by_budget.value)
    assert (int(cells[0]), int(cells[3])) == expected


def test_predictions_of_each_run_set_image_and_score_can_be_seen(trained):
    browser = widgets.prediction_browser(trained.study, [*trained.planned, trained.planned[0]], score=0.0)
    run, evaluated, image = parts(browser, "Dropdown")
    (threshold,) = parts(browser, "FloatSlider")
    said = parts(browser, "Label")[0]
    assert len(run.options) == len(trained.planned)
    pictures = []
    for widget in (run, evaluated, image):
        pictures.append(shown(browser))
        widget.value = next(value for _, value in widget._options_full if value != widget.value)
    pictures.append(shown(browser))
    assert len({picture.tobytes() for picture in pictures}) == 4
    threshold.value = 1.0
    assert "score of 1.00 or more: 0," in said.value


def test_runs_without_predictions_are_not_offered(study, tmp_path):
    from synlib.study.study import Study

    empty = Study(study.profile.replace(runs=str(tmp_path)), study.data)
    with pytest.raises(FileNotFoundError, match="train them first"):
        widgets.prediction_browser(empty, study.planned("table1"))


def test_each_explorer_carries_what_it_shows_as_plain_html(removal, study, trained):
    for explorer in (
        removal,
        widgets.mixing_explorer(study),
        widgets.prediction_browser(trained.study, trained.planned),
    ):
        bundle = explorer._repr_mimebundle_()
        assert {VIEW, "text/html", "text/plain"} == set(bundle)
        assert not re.search(r"https?:|<script", bundle["text/html"])
        assert "data:image/png;base64," in bundle["text/html"] or "<table" in bundle["text/html"]


def test_executed_without_a_browser_the_report_shows_the_still_picture(smoke_data, tmp_path):
    source, executed = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    code = (
        "from synlib.report.widgets import removal_explorer\nfrom synlib.study.study import Study\n"
        "from synlib.profile import Profile\n"
        f"profile = Profile.load('smoke').with_settings({{'data.folder': {str(smoke_data)!r}}})\n"
        "removal_explorer(Study.open(profile).data)"
    )
    cells = [new_markdown_cell("# Figure 3"), new_code_cell(code)]
    nbformat.write(new_notebook(cells=cells), source)
    papermill.execute_notebook(str(source), str(executed), kernel_name="python3", progress_bar=False)
    (output,) = nbformat.read(executed, as_version=4).cells[-1].outputs
    assert {VIEW, "text/html"} <= set(output.data)
    html = site.render(executed).read_text()
    assert "instances are left. In JupyterLab" in html
    assert "widget-view" not in html and "<script" not in html
