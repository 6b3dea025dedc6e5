"""The explorer's widgets, a thin layer over ``subject``. ipywidgets and matplotlib are imported where they are used."""

import base64
import html
import io
import time
from collections.abc import Callable
from typing import Any

from ...cost import check
from ...nets import ARCHS
from ...papers.rows import get_row, printed_networks
from ...system.errors import InputError, needs
from ..figures import charts
from . import pictures, subject
from .subject import SPREADS, Subject

OWN = "a spec of your own"


def specs(row: str = "dcff/cifar10/vgg16") -> Any:
    """Choose a paper and a row, or a network and a spec, and move its rates: widths and counts follow."""
    with needs("lab"):
        import ipywidgets

    rows: dict[str, list[str]] = {}
    for ids in subject.rows_to_choose().values():
        for name in ids:
            rows.setdefault(name.split("/")[0], []).append(name)
    rows[OWN] = list(ARCHS)
    paper = ipywidgets.Dropdown(options=list(rows), value=row.split("/")[0], description="paper")
    which = ipywidgets.Dropdown(options=rows[paper.value], value=row, description="row")
    text = ipywidgets.Text(description="spec", continuous_update=False, layout=ipywidgets.Layout(width="95%"))
    sliders = ipywidgets.VBox(layout=ipywidgets.Layout(max_height="260px", overflow="auto"))
    chart, counts, note = (
        _Shown("bar chart: filters of each conv, and those kept"),
        ipywidgets.HTML(),
        ipywidgets.HTML(),
    )
    state: dict[str, Any] = {"moving": False}

    def show(spec: str) -> bool:
        def work() -> str:
            found = subject.recount(state["arch"], spec, state["layout"])
            chart.show(_png(found.chart))
            counts.value = found.grid._repr_html_()
            state["found"] = found
            return state["about"]

        return _timed(note, work)

    def moved(_change) -> None:
        if not state["moving"]:
            text.value = subject.written(
                [(s.value, n) for s, (_, n) in zip(state["sliders"], state["runs"], strict=True)]
            )

    def typed(change) -> None:
        if not show(change["new"]):
            return
        found = state["found"].runs
        values = [value for value, times in found for _ in range(times)]
        now = [s.value for s, (_, n) in zip(state["sliders"], state["runs"], strict=True) for _ in range(n)]
        if [f"{v:.6g}" for v in now] != [f"{v:.6g}" for v in values]:
            build(found)

    def build(found) -> None:
        state["runs"], made, place = found, [], 1
        tenths = state["tenths"]
        for value, times in found:
            name = f"rate {place}" + (f" to {place + times - 1}" if times > 1 else "")
            low, high, step = (1.0, 10.0, 1.0) if tenths else (0.0, 0.98, 0.01)
            slider = ipywidgets.FloatSlider(
                value=value, min=low, max=max(high, value), step=step, description=name, continuous_update=False,
                style={"description_width": "110px"}, layout=ipywidgets.Layout(width="520px", min_height="28px"),
            )  # fmt: skip
            slider.observe(moved, "value")
            made.append(slider)
            place += times
        state["sliders"] = made
        sliders.children = made

    def chosen(_change=None) -> None:
        name = which.value
        if name is None:
            return
        known = None if paper.value == OWN else get_row(name)
        state["arch"], state["layout"] = (name, None) if known is None else (known.arch, known.layout or None)
        state["about"] = "" if known is None else known.unknown and f"its list is not public: {known.unknown}"
        spec = (known and known.rates) or subject.unpruned(state["arch"], state["layout"])
        state["tenths"] = "[10]" in subject.unpruned(state["arch"], state["layout"])
        show(spec)
        build(state["found"].runs)
        text.unobserve(typed, "value")
        text.value = spec
        text.observe(typed, "value")

    def other_paper(change) -> None:
        which.options = rows[change["new"]]  # this selects the first row, which calls ``chosen``

    chosen()
    paper.observe(other_paper, "value")
    which.observe(chosen, "value")
    return ipywidgets.VBox([ipywidgets.HBox([paper, which]), text, sliders, note, chart.widget, counts])


def figure(printed: str = "55.84M", arch: str = "resnet56", base: str = "125.49M", cut: str = "55.5%") -> Any:
    """Type a figure that a paper prints, and what is printed beside it: the ways of counting that print it follow."""
    with needs("lab"):
        import ipywidgets

    wide = ipywidgets.Layout(width="95%")
    network = ipywidgets.Dropdown(options=list(ARCHS), value=arch, description="network")
    texts = {
        name: ipywidgets.Text(value=value, description=name, continuous_update=False)
        for name, value in {"figure": printed, "params": "", "base": base, "cut": cut}.items()
    }
    rates = ipywidgets.Text(description="rates", continuous_update=False, layout=wide)
    found, note = ipywidgets.HTML(), ipywidgets.HTML()

    def follow(_change=None) -> None:
        def work() -> str:
            given = {name: text.value.strip() or None for name, text in texts.items()}
            spec = rates.value.strip() or None
            known = [] if spec else printed_networks(network.value)
            checked = check(given.pop("figure") or "", network.value, spec, known=known, **given)
            found.value = f'<pre style="line-height: 1.4">{html.escape(str(checked))}</pre>'
            return "something prints it" if checked.found else "nothing prints it"

        _timed(note, work)

    follow()
    for widget in (network, rates, *texts.values()):
        widget.observe(follow, "value")
    rows = ipywidgets.HBox([network, texts["figure"], texts["params"]]), ipywidgets.HBox([texts["base"], texts["cut"]])
    return ipywidgets.VBox([*rows, rates, note, found])


def filters(of: Subject) -> Any:
    """Choose a criterion, a layer and an image, and see the filters, best first."""
    with needs("lab"):
        import ipywidgets

    criterion = ipywidgets.Dropdown(options=of.offered, description="criterion")
    conv = ipywidgets.Dropdown(options=list(of.arch.filters), description="layer")
    last = 0 if of.images is None else len(of.images.classes) - 1
    image = ipywidgets.IntSlider(min=0, max=last, description="image", continuous_update=False)
    picture, chart = _Shown("the best filters, then the worst"), _Shown("bar chart: the score of each filter")
    note = ipywidgets.HTML()

    def follow(_change=None) -> None:
        def work() -> str:
            scores, _ = pictures.ranked(of, conv.value, criterion.value)
            picture.show(pictures.best_and_worst(of, conv.value, criterion.value, image.value))
            chart.show(_png(pictures.bars(scores, f"{conv.value}: {criterion.value} of each filter, best first")))
            shown = "weights alone: no images here" if of.images is None else _class(of, image.value)
            return f"{shown}; scores from {scores[-1]:.3g} to {scores[0]:.3g}"

        _timed(note, work)

    return _following(
        follow,
        [criterion, conv] if of.images is None else [criterion, conv, image],
        [note, picture.widget, chart.widget],
    )


def _class(of: Subject, image: int) -> str:
    return f"image of class {of.data.classes[image]}"


def sparsity(of: Subject, shown: int = 6) -> Any:
    """Drag a sparsity, and see accuracy, cost and Grad-CAM of the pruned network.

    Without images: its cost, and the accuracy that was recorded, beside that of other sparsities and criteria.
    """
    with needs("lab"):
        import ipywidgets

    for name in of.offered:  # once, before the first drag
        subject.score(of, name)
    criterion = ipywidgets.Dropdown(options=of.offered, description="criterion")
    spread = ipywidgets.Dropdown(options=SPREADS, description="goes", layout=ipywidgets.Layout(width="380px"))
    numbers, said, note = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.HTML()
    picture = _Shown("images and where both networks look" if of.images else "top-1 over sparsity for each criterion")
    wide: dict[str, Any] = {
        "description": "sparsity", "continuous_update": False, "layout": ipywidgets.Layout(width="520px")
    }  # fmt: skip
    if of.images is None:
        options = [share for share, _ in of.recorded[SPREADS[0]][of.offered[0]]]
        share: Any = ipywidgets.SelectionSlider(options=options, value=subject.BEGIN, **wide)
        draw = _recorded(of, picture)
    else:
        share = ipywidgets.FloatSlider(value=subject.BEGIN, min=0, max=0.9, step=0.02, **wide)
        draw = _looked_at(of, shown, picture, said)

    def follow(_change=None) -> None:
        def work() -> str:
            pruned = subject.prune(of, criterion.value, share.value, spread.value)
            told = draw(pruned, share.value, spread.value)
            numbers.value = subject.compared(of, pruned)._repr_html_()
            return f"{told}; not trained on after pruning"

        _timed(note, work)

    return _following(follow, [criterion, spread, share], [note, numbers, picture.widget, said])


def _looked_at(of: Subject, shown: int, picture, said) -> Callable[[subject.Pruned, float, str], str]:
    """What draws images and both networks' Grad-CAM of them, and says what the networks say."""
    _, pixels, labels = of.batch(shown)
    before, before_said = subject.maps(of, of.model, shown)

    def draw(pruned: subject.Pruned, share: float, spread: str) -> str:
        after, after_said = subject.maps(of, pruned.model, shown)
        lines = [pixels.permute(0, 2, 3, 1), pictures.heat(before, pixels), pictures.heat(after, pixels)]
        picture.show(pictures.mosaic(lines))
        truth = [of.data.classes[label] for label in labels]
        told = {"image": truth, "full network says": before_said, "pruned network says": after_said}
        said.value = "<br>".join(f"{what}: {html.escape(', '.join(words))}" for what, words in told.items())
        return f"{len(of.data.test)} test images"

    return draw


def _recorded(of: Subject, picture) -> Callable[[subject.Pruned, float, str], str]:
    """What draws the accuracies that were recorded, with a mark at the sparsity that is chosen."""

    def draw(pruned: subject.Pruned, share: float, spread: str) -> str:
        lines = subject.curves(of, (), spread)
        picture.show(_png(charts.scatter(lines, "sparsity", "top-1 (%)", f"{of.arch.name}, as pruned", at=share)))
        return "accuracies as recorded on CIFAR-10, which is not here"

    return draw


class _Shown:
    """A picture as HTML, with words for those who do not see it: ipywidgets' own ``Image`` has none."""

    def __init__(self, words: str):
        import ipywidgets

        self.words, self.widget = words, ipywidgets.HTML()

    def show(self, png: bytes) -> None:
        data = base64.b64encode(png).decode()
        words = f'alt="{html.escape(self.words)}"'
        self.widget.value = f'<img {words} src="data:image/png;base64,{data}" style="max-width: 100%">'


def _following(follow: Callable, controls: list, shown: list) -> Any:
    import ipywidgets

    follow()
    for control in controls:
        control.observe(follow, "value")
    return ipywidgets.VBox([ipywidgets.HBox(controls[:2]), *controls[2:], *shown])


def _timed(note, work: Callable[[], str]) -> bool:
    """Do the work and write into ``note`` how long it took, or why it cannot be done; returns whether it was."""
    start = time.perf_counter()
    try:
        text = work()
    except InputError as error:
        note.value = f'<span style="color:#c92a2a">{html.escape(str(error))}</span>'
        return False
    note.value = html.escape(f"{text}{'; ' if text else ''}{time.perf_counter() - start:.2f} s")
    return True


def _png(figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    return file.getvalue()
