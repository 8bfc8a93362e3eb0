"""Panels of made-up spectra and of real ones, and what they show."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import ipywidgets as W
import numpy as np
import pytest
from examples import CONTEXTS, small
from tiny import tiny_model

from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.nullspace.thresholds import Threshold
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.spectrum.panel import SpectrumPanel
from alphaedit_widgets.state import State


class _Found(HTMLParser):
    def __init__(self, testid: str) -> None:
        super().__init__()
        self.testid, self.depth, self.text, self.seen = testid, 0, "", 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.depth:
            self.depth += tag not in {"img", "br"}
        elif not self.depth and dict(attrs).get("data-testid") == self.testid:
            self.depth, self.seen = 1, self.seen + 1

    def handle_endtag(self, tag: str) -> None:
        self.depth = max(0, self.depth - 1)

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.text += data


def html_of(widget: W.Widget) -> str:
    """All HTML that a widget and those in it hold."""
    own = widget.value if isinstance(widget, W.HTML) else ""
    return own + "".join(html_of(child) for child in getattr(widget, "children", ()))


def text_of(panel: SpectrumPanel, testid: str) -> str:
    """Text of the one element of this id; "" if there is none."""
    found = _Found(testid)
    found.feed(html_of(panel))
    return found.text


def descending(size: int, high: float = 1e2, low: float = 1e-5) -> np.ndarray:
    """Made-up eigenvalues."""
    return np.geomspace(high, low, size)


def with_spectra(eigenvalues: dict[int, np.ndarray], threshold: str = "0.02") -> State:
    """A state whose session has made-up spectra for layers 0 and 1 (no eigenvectors)."""
    session = EditSession(tiny_model("llama"), contexts=[])
    layers = tuple(eigenvalues)
    session.hyperparameters = session.hyperparameters.replace(layers=layers, threshold=threshold)
    session._spectra = {n: Spectrum(n, v, 12_345, None, 2e-7) for n, v in eigenvalues.items()}
    return State(session)


def made_up_state() -> State:
    """A state with made-up spectra of two layers."""
    return with_spectra({0: descending(48), 1: descending(48, 30.0, 1e-3)})


def opened_panel(made_up: State) -> SpectrumPanel:
    """A panel of made-up spectra, opened."""
    panel = SpectrumPanel(made_up)
    panel.on_first_show()
    return panel


def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache that the tests with a real tiny model share."""
    place = tmp_path_factory.mktemp("spectrum")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(place / "cache"))
        yield place


def real(folder: Path, **changes: Any) -> State:
    """The state of a session of a real tiny model, its cache in this folder."""
    model = tiny_model("llama")
    settings = small(folder, **changes)
    return State(EditSession(model, hyperparameters=settings, contexts=CONTEXTS[:1]))


def shape(panel: SpectrumPanel, index: int = 0) -> Any:
    """A shape of the figure; the first is the line of the threshold."""
    assert panel.figure is not None
    return panel.figure.figure.layout.shapes[index]


def wait(state: State) -> None:
    """Until the job that opening started has ended."""
    if state.job is not None:
        assert state.job.wait(20)


def agree(panel: SpectrumPanel) -> None:
    """Slider, number box, line, text and session say the same."""
    own = Threshold.parse(panel.state.threshold)
    controls, line = panel.controls, shape(panel)
    assert controls.rule.value == own.rule == panel.rule
    assert controls.number.value == own.value
    wanted = np.log10(own.value) if own.rule == "absolute" else own.value
    assert controls.slider.value == pytest.approx(wanted, abs=2e-6)
    assert controls.slider.min <= controls.slider.value <= controls.slider.max
    assert line.y0 == line.y1
    if own.rule == "absolute":
        assert line.y0 == controls.slider.value
    assert text_of(panel, "rank").startswith(f"null-space rank {panel.rank} ")
