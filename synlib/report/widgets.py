"""Explorers for JupyterLab: sliders and choosers around :mod:`synlib.report.explore`.

Each also carries what it shows first as plain HTML, for wherever no kernel answers: papermill's copies and the report.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import ipywidgets
import numpy as np
import pandas as pd

from scapes import png
from scapes.labels import CLASSES, COLORS
from synlib.curation.mix import Composition, composition_for_budget, composition_for_ratio
from synlib.curation.prune import removed_from
from synlib.report import explore
from synlib.report.hover import learning_rate_html
from synlib.study.data import StudyData
from synlib.study.plan import Planned
from synlib.study.study import Study

IMAGES = 40
"""Images that a chooser offers."""
NAMED = {"style": {"description_width": "8em"}, "layout": {"width": "32em"}}


class Explorer(ipywidgets.VBox):
    """Widgets, and HTML that says the same without a kernel."""

    def __init__(self, children: Sequence[ipywidgets.Widget], still: Callable[[], str]) -> None:
        super().__init__(children)
        self.still = still

    def _repr_mimebundle_(self, **options) -> dict:
        return super()._repr_mimebundle_(**options) | {"text/html": self.still(), "text/plain": "(an explorer)"}


class Html:
    """HTML to display as it is."""

    def __init__(self, content: str) -> None:
        self.content = content

    def _repr_html_(self) -> str:
        return self.content


def removal_explorer(data: StudyData, image_ids: Sequence[str] = ()) -> Explorer:
    """Figure 3 to play with: an image's instances vanish as thresholds move, smallest of each class first.

    Thresholds are in percent of a class's instances in the whole training split, as in the study. ``image_ids``: of the
    synthetic training split; default: those with most classes and instances.
    """
    images = data.images("synthetic", "train").set_index("image_id")
    instances = data.instances("synthetic", "train")
    instances = instances.assign(removed_from=removed_from(instances))
    image_ids = list(image_ids) or _richest(instances)

    @lru_cache(maxsize=8)
    def scene(image_id: str) -> explore.RemovalScene:
        image, instance_ids = _read(images.loc[image_id])
        return explore.removal_scene(image, instance_ids, instances[instances["image_id"] == image_id])

    chooser = ipywidgets.Dropdown(options=image_ids, description="image", **NAMED)
    common = ipywidgets.IntSlider(0, 0, 100, description="all classes (%)", **NAMED)
    sliders = [ipywidgets.IntSlider(0, 0, 100, description=f"{name} (%)", **NAMED) for name in CLASSES]
    counts = [ipywidgets.Label() for _ in CLASSES]
    for slider, name in zip(sliders, CLASSES, strict=True):
        slider.style.handle_color = "#{:02x}{:02x}{:02x}".format(*COLORS[name])
    picture = ipywidgets.Image(format="png", layout={"width": "100%", "max_width": f"{explore.SHOWN_PX}px"})

    def fractions() -> np.ndarray:
        return np.array([slider.value for slider in sliders]) / 100

    def show(removed: np.ndarray) -> None:
        chosen = scene(chooser.value)
        picture.value = explore.png_of(chosen.picture(removed))
        for label, (kept, there) in zip(counts, chosen.counts(removed), strict=True):
            label.value = f"{kept} of {there} here"

    def draw(_=None) -> None:
        show(fractions())

    def move_all(change) -> None:
        show(np.full(len(CLASSES), change["new"] / 100))  # the picture first: the browser waits for it
        for slider in sliders:
            slider.unobserve(draw, "value")
            slider.value = change["new"]
            slider.observe(draw, "value")

    chooser.observe(draw, "value")
    common.observe(move_all, "value")
    for slider in sliders:
        slider.observe(draw, "value")
    draw()
    rows = [ipywidgets.HBox(pair) for pair in zip(sliders, counts, strict=True)]
    columns = {"grid_template_columns": "repeat(auto-fill, 38em)"}
    return Explorer(
        [chooser, picture, common, ipywidgets.GridBox(rows, layout=columns)],
        lambda: explore.picture_html(
            scene(chooser.value).picture(fractions()),
            f"{chooser.value} with {_percents(fractions())} removed: {scene(chooser.value).kept(fractions()).sum()} of"
            f" {len(scene(chooser.value).category)} instances are left. In JupyterLab, sliders remove more.",
        ),
    )


def mixing_explorer(study: Study) -> Explorer:
    """Which training set a share of real images means (Figure 5), and which one a budget (the rule below Table 3)."""
    profile = study.profile
    available = Composition(*(len(study.data.images(domain, "train")) for domain in ("real", "synthetic")))
    batch, iterations = profile.batch_size, profile.schedule.iterations
    epochs = ipywidgets.IntSlider(round(profile.grids.mixed_epochs), 1, 200, description="epochs", **NAMED)
    share = ipywidgets.IntSlider(50, 0, 100, description="real images (%)", **NAMED)
    enough = sum(available) * epochs.value // batch  # iterations to see all images that often
    budget = ipywidgets.IntSlider(max(1, enough // 2), 1, 2 * enough + 1, description="iterations", **NAMED)
    by_share, by_budget = ipywidgets.HTML(), ipywidgets.HTML()

    def draw(_=None) -> None:
        composition = composition_for_ratio(profile.baseline_images, share.value / 100)
        by_share.value = explore.composition_html(composition, available, batch, iterations)
        composition = composition_for_budget(
            budget.value, batch_size=batch, epochs=epochs.value, real=available.real, synthetic=available.synthetic
        )
        by_budget.value = explore.composition_html(composition, available, batch, budget.value)

    def widen(_) -> None:
        budget.max = 2 * (sum(available) * epochs.value // batch) + 1

    epochs.observe(widen, "value")
    for slider in (share, epochs, budget):
        slider.observe(draw, "value")
    draw()
    titles = ("<b>A share of real images</b> (Figure 5)", "<b>A budget</b> (the rule below Table 3)")
    first, second = (ipywidgets.HTML(title) for title in titles)
    return Explorer(
        [first, share, by_share, second, budget, epochs, by_budget],
        lambda: (
            f"<p>{titles[0]}: {share.value} % of {profile.baseline_images:,} images</p>{by_share.value}"
            f"<p>{titles[1]}: {budget.value:,} iterations, every image {epochs.value} times</p>{by_budget.value}"
        ),
    )


def learning_rate_explorer(results: pd.DataFrame, on: str = "Cityscapes") -> Html:
    """Figure 6 with the run behind each mark: see :func:`synlib.report.hover.learning_rate_html`."""
    return Html(learning_rate_html(results, on))


def prediction_browser(study: Study, planned: Sequence[Planned], score: float = 0.5) -> Explorer:
    """What the runs of an experiment predict: image, ground truth and detections from a score on, side by side.

    Offers the runs that have predictions on an evaluation set; raises FileNotFoundError if none has.
    """
    sets = {on.name: on for on in study.data.evaluation_sets()}
    items, runs = {}, {}
    for item in planned:
        items.setdefault(item.spec.run_id, item)  # a run of several names is offered once
    for item in items.values():
        run = study.store.run(item.spec)
        if all(run.evaluation_result(on.name, on.identity()) for on in sets.values()):
            runs[f"{item.name}, seed {item.spec.seed} ({item.spec.run_id})"] = run
    if not runs:
        raise FileNotFoundError(f"{study.store.root}: no run of this experiment has predictions; train them first")
    tables = {name: study.data.evaluation_images(on).set_index("image_id") for name, on in sets.items()}

    chooser = ipywidgets.Dropdown(options=runs, description="run", **NAMED)
    evaluated = ipywidgets.Dropdown(options=list(sets)[::-1], description="evaluated on", **NAMED)
    image = ipywidgets.Dropdown(description="image", **NAMED)
    threshold = ipywidgets.FloatSlider(score, min=0, max=1, step=0.01, description="score from", **NAMED)
    picture = ipywidgets.Image(format="png", layout={"width": "100%", "max_width": "1452px"})
    text = ipywidgets.Label()

    @lru_cache(maxsize=8)
    def load(path: str, name: str, image_id: str):
        return *_read(tables[name].loc[image_id]), explore.read_detections(path, image_id)

    def panels() -> tuple[np.ndarray, str]:
        on = sets[evaluated.value]
        path = chooser.value.evaluation(on.name) / "predictions.parquet"
        return explore.prediction_panels(
            *load(str(path), evaluated.value, image.value), threshold.value, on.min_area_px
        )

    def draw(_=None) -> None:
        if image.value is not None:
            shown, text.value = panels()
            picture.value = explore.png_of(shown)

    def offer_images(_=None) -> None:
        ids = tables[evaluated.value].index
        image.options = ids[:: -(-len(ids) // IMAGES)].tolist()
        image.index = 0

    for widget in (chooser, image, threshold):
        widget.observe(draw, "value")
    evaluated.observe(offer_images, "value")
    offer_images()
    caption = "Image, ground truth, detections; outlined in yellow: missed instances, false detections."
    return Explorer(
        [chooser, evaluated, image, threshold, picture, text, ipywidgets.Label(caption)],
        lambda: explore.picture_html(
            panels()[0],
            f"{chooser.label}, evaluated on {evaluated.value}, {image.value}. {caption} {panels()[1]}.",
        ),
    )


def _richest(instances: pd.DataFrame) -> list[str]:
    """The images with most classes, then most instances, of an instance table."""
    ranked = instances[~instances["crowd"]].groupby("image_id")["category"].agg(["nunique", "size"])
    return ranked.sort_values(["nunique", "size"], ascending=False, kind="stable").index[:IMAGES].tolist()


def _read(row: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 (H, W, 3) RGB and instance ids uint16 (H, W)."""
    return png.read(row["image_path"], "RGB 8")[..., ::-1], png.read(row["instance_path"], "gray 16")


def _percents(fractions: np.ndarray) -> str:
    """``30 %`` if all classes share it, else each class with its own."""
    if len(set(fractions)) == 1:
        return f"{100 * fractions[0]:.0f} % of each class"
    return ", ".join(
        f"{100 * fraction:.0f} % of {name}" for name, fraction in zip(CLASSES, fractions, strict=True) if fraction
    )
