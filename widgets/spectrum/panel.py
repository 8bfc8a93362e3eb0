"""The spectrum explorer: what a threshold keeps, leaks and leaves of the facts, before any edit."""

from __future__ import annotations

import threading
from typing import Any

import ipywidgets as W
from typing_extensions import override

from alphaedit_core.data.facts import Fact
from alphaedit_core.editing.key_projection import KeyProjection
from alphaedit_core.errors import AlphaEditError, InputError, SessionError
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.nullspace.thresholds import Rule, Threshold
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.components.panel import Panel, button, row, text
from alphaedit_widgets.jobs import Job
from alphaedit_widgets.state import State

from .figure import INDICES, VIEWS, SpectrumFigure
from .html import job_html, massive_words, numbers_html, source_html, warnings_html
from .key_table import MOST_FACTS, facts_table, keys_html
from .layers import layers_html, layers_table
from .scales import DEFAULT, converted, log_threshold
from .threshold_controls import ThresholdControls
from .work import SpectrumData, gather, stale

#: Jobs of this panel.
_LOADING, _COLLECTING, _READING = "load spectra", "collect statistics", "read keys"


class SpectrumPanel(Panel):
    """Spectrum explorer: eigenvalues, the threshold, and what of the facts' keys survives it.

    The threshold is that of the shared state, so the next edit uses it. Everything on the screen
    can be read and set here; a button's method is named after it.

    Attributes:
        figure: the large figure; None until the panel is first shown.
        controls: rule, number box, slider and Reset.
    """

    name = "spectrum"
    title = "Spectrum"

    def __init__(self, source: EditSession | State) -> None:
        super().__init__(source)
        self.figure: SpectrumFigure | None = None
        self._gathered = SpectrumData()
        self._figure_state: tuple[Spectrum, str, str] | None = None
        self._cached_facts: tuple[Any, list[Fact]] | None = None
        # The kernel thread and a job's thread may update the panel at the same time.
        self._update_lock = threading.RLock()
        self._filling = False
        self._make_widgets()
        self._arrange_widgets()
        self._observe_state()
        self._update()

    # -- from Python -----------------------------------------------------------------------------

    @property
    def layer(self) -> int:
        """The layer that is shown large; shared by all panels."""
        layers = self.session.hyperparameters.layers
        return self.state.layer if self.state.layer in layers else layers[len(layers) // 2]

    @layer.setter
    def layer(self, layer: int) -> None:
        layers = self.session.hyperparameters.layers
        if layer not in layers:
            raise SessionError(f"layer {layer} is not edited; give one of {list(layers)}")
        self.state.layer = layer

    @property
    def view(self) -> str:
        """``eigenvalues``, ``cumulative energy`` or ``histogram``."""
        return str(self._view.value)

    @view.setter
    def view(self, view: str) -> None:
        self._view.value = view

    @property
    def index(self) -> str:
        """Whether directions are counted on a ``linear`` or a ``log`` axis."""
        return str(self._index.value)

    @index.setter
    def index(self, index: str) -> None:
        self._index.value = index

    @property
    def rule(self) -> Rule:
        """``absolute``, ``energy`` or ``rank``; setting it keeps the same directions here.

        Raises:
            SessionError: if it is set before the spectrum is known.
        """
        return self._threshold.rule

    @rule.setter
    def rule(self, rule: Rule) -> None:
        if rule != self.rule:
            self._set_threshold(converted(self._required(), self._threshold, rule))

    @property
    def threshold(self) -> float:
        """The number under which an eigenvalue of the shown layer is kept, whatever the rule is.

        Set it to a number, or to ``"energy:0.1"`` or ``"rank:1000"``. Under these rules it is not
        a number (nan) until the spectrum is known.

        Raises:
            InputError: if it is set to what is no threshold of these layers.
        """
        if self._threshold.rule == "absolute":
            return self._threshold.value
        if self._problem():
            return float("nan")
        return self._required().convert(self._threshold, "absolute").value

    @threshold.setter
    def threshold(self, threshold: float | str | Threshold) -> None:
        self._set_threshold(Threshold.parse(threshold))

    @property
    def spectrum(self) -> Spectrum | None:
        """The spectrum of the shown layer, or None if it is not known yet."""
        return (self.session.cached_spectra or {}).get(self.layer)

    @property
    def rank(self) -> int | None:
        """Dimension of the kept space of the shown layer; None if that is not known."""
        return None if self._problem() else self._required().rank(self._threshold)

    @property
    def leakage(self) -> float | None:
        """Share of ordinary text's energy that the kept space still holds; None if not known."""
        return None if self._problem() else self._required().leakage(self._threshold)

    @property
    def key_projection(self) -> KeyProjection | None:
        """The keys that were read last; None if none were."""
        return self._gathered.key_projection

    @property
    def shares(self) -> dict[int, list[float]]:
        """Kept share of each fact's key, by layer; empty if no keys were read.

        The facts are in the order of ``key_projection.facts``.
        """
        spectra, projection = self.session.cached_spectra, self.key_projection
        current = self._gathered.spectra is spectra
        if not spectra or projection is None or not current or self._problem():
            return {}
        ranks = {n: spectra[n].rank(self.state.threshold_at(n)) for n in projection.by_layer}
        return projection.at(ranks)

    def reset(self) -> None:
        """Go back to AlphaEdit's default threshold."""
        self._set_threshold(Threshold("absolute", DEFAULT))

    def collect(self, block: bool = False) -> Job[SpectrumData]:
        """Read the spectra from the cache, or collect statistics over text; then read the keys.

        Args:
            block: wait for it, and raise what it raises.
        """
        return self._start(_COLLECTING, block)

    def read_keys(self, block: bool = False) -> Job[SpectrumData]:
        """Read the keys of all ready facts on the model as it stands.

        Args:
            block: wait for it, and raise what it raises.
        """
        return self._start(_READING, block)

    @override
    def summary(self) -> str:
        if self.spectrum is None:
            return f"SpectrumPanel(layer {self.layer}, threshold {self._threshold}: not collected)"
        return f"SpectrumPanel({self._problem() or self.spectrum.summary(self._threshold)})"

    @override
    def static_html(self) -> str:
        spectrum, spectra = self.spectrum, self.session.cached_spectra
        if spectrum is None or spectra is None or self._problem():
            return super().static_html()
        threshold = self._threshold
        parts = [spectrum.html(threshold), layers_table(spectra, self.state.threshold_at)]
        if self.key_projection is not None and self.key_projection.facts:
            parts.append(facts_table(self.key_projection.facts, self.shares))
        return "".join(parts)

    # -- showing ---------------------------------------------------------------------------------

    @override
    def on_first_show(self) -> None:
        if self.figure is None:
            self.figure = SpectrumFigure(self._dragged)
            self._figure_place.children = (self.figure,)
        self._update()
        if self.state.idle and (self.session.cached_spectra is None or self._keys_stale()):
            self.with_errors_shown(_LOADING, lambda: self._start(_LOADING))()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        # A panel shown alone waits for cached spectra, so that the stored figure is the same in
        # every run and the next cell finds the model free.
        if self.state.idle and self.session.cached_spectra is None:
            self.with_errors_shown(_LOADING, lambda: self._start(_LOADING, block=True))()
        return super()._repr_mimebundle_(**kwargs)

    # -- making ----------------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self._layer, self._view, self._index = (
            W.Dropdown(
                description=name, options=options, layout=W.Layout(width=width),
                style={"description_width": "initial"},
            )
            for name, options, width in (
                ("Layer", (), "150px"), ("View", VIEWS, "210px"), ("Index", INDICES, "130px"),
            )
        )  # fmt: skip
        self.controls = ThresholdControls(
            lambda threshold: self._try(lambda: self._set_threshold(threshold)),
            lambda rule: self._try(lambda: setattr(self, "rule", rule)),
            self.with_errors_shown("reset", self.reset),
            self._refused,
        )
        self.collect_button = button(
            "Collect statistics", "collect", self.with_errors_shown(_COLLECTING, self.collect),
            style="primary",
        )  # fmt: skip
        self.cancel_button = button("Cancel", "cancel-collect", lambda *_: self.state.cancel())
        self.keys_button = button(
            "Read keys", "read-keys", self.with_errors_shown(_READING, self.read_keys)
        )
        self._source, self._progress, self._numbers, self._warning = (W.HTML() for _ in range(4))
        self._massive, self._layers, self._selected, self._facts = (W.HTML() for _ in range(4))
        self._figure_place = W.VBox()

    def _arrange_widgets(self) -> None:
        self.show(
            W.HTML(
                "<h3>Spectrum</h3><p class='ae-quiet'>How much ordinary text uses each direction "
                "of a layer's keys. With the projection, an edit uses only the directions below "
                "the threshold: the null space.</p>"
            ),
            row(self.collect_button, self.cancel_button, self._source),
            self._progress,
            row(self._layer, self._view, self._index),
            self.controls,
            self._warning,
            self._numbers,
            self._figure_place,
            self._massive,
            self._layers,
            row(self._selected, self.keys_button),
            self._facts,
        )

    def _observe_state(self) -> None:
        self._layer.observe(self._layer_chosen, "value")
        self._view.observe(self._update, "value")
        self._index.observe(self._update, "value")
        changes = ["layer", "threshold_changes", "method_changes", "revision", "session"]
        self.state.observe(self._update, changes)
        self.state.observe(self._facts_changed, ["drafts", "selected"])
        self.state.observe(self._job_moved, ["job_updates"])

    # -- what was moved --------------------------------------------------------------------------

    def _layer_chosen(self, change: Any) -> None:
        if not self._filling and change["new"] is not None and change["new"] != self.layer:
            self.layer = change["new"]

    def _refused(self, error: InputError) -> None:
        self.state.notice = str(error)
        self._update()

    def _dragged(self, threshold: Threshold) -> None:
        spectrum, rule = self.spectrum, self.rule
        if spectrum is not None:
            new = threshold if threshold.rule == rule else converted(spectrum, threshold, rule)
            self._try(lambda: self._set_threshold(new))

    def _try(self, action: Any) -> None:
        """Do what was asked on the screen; if it cannot be done, show again what is."""
        before = self.state.threshold_changes
        self.with_errors_shown("threshold", action)()
        if self.state.threshold_changes == before:
            self._update()

    def _set_threshold(self, threshold: Threshold) -> None:
        """Make this the threshold of the session, if every layer has it."""
        job = self.state.job
        if self.state.busy and job is not None and job.name in (_LOADING, _READING):
            job.wait(5)  # they are short, and have the model
        for spectrum in (self.session.cached_spectra or {}).values():
            spectrum.rank(threshold)
        self.state.threshold = threshold

    # -- work ------------------------------------------------------------------------------------

    def _start(self, name: str, block: bool = False) -> Job[SpectrumData]:
        session, facts, previous = self.session, self._requested_facts(), self._gathered

        def done(gathered: SpectrumData) -> None:
            self._gathered = gathered

        return self.state.start(
            name,
            lambda monitor: gather(session, facts, previous, monitor, collect=name == _COLLECTING),
            done,
            block=block,
            background=name == _LOADING,
        )

    def _keys_stale(self) -> bool:
        return stale(self._gathered, self.session, self._requested_facts())

    def _requested_facts(self) -> list[Fact]:
        """Return the facts whose keys are shown; cached until the entered facts change."""
        if self._cached_facts is None or self._cached_facts[0] is not self.state.drafts:
            self._cached_facts = self.state.drafts, self.state.facts[:MOST_FACTS]
        return self._cached_facts[1]

    def _job_moved(self, *_: Any) -> None:
        if self.state.busy:
            with self._update_lock:
                self._update_progress()
        else:
            self._update()

    def _facts_changed(self, *_: Any) -> None:
        with self._update_lock:
            self._update_source()
            self._update_facts()

    # -- painting --------------------------------------------------------------------------------

    def _required(self) -> Spectrum:
        if self.spectrum is None:
            raise SessionError("the spectrum is not available; collect statistics first")
        return self.spectrum

    @property
    def _threshold(self) -> Threshold:
        """That of the shown layer."""
        return self.state.threshold_at(self.layer)

    def _problem(self) -> str:
        """Why the shown layer has no rank, in a sentence; "" if it has one."""
        if self.spectrum is None:
            return "the spectrum is not available; collect statistics first"
        try:
            self.spectrum.rank(self._threshold)
        except AlphaEditError as error:
            return str(error)
        return ""

    def _update(self, *_: Any) -> None:
        """Show what the state says."""
        with self._update_lock:
            own = self._threshold
            self._update_progress()
            self._update_source()
            self._update_controls(own)
            self._update_numbers()
            self._update_figure(own)
            self._update_layers()
            self._update_facts()

    def _update_progress(self) -> None:
        job, busy = self.state.job, self.state.foreground_busy
        is_own_job = job is not None and job.name in (_LOADING, _COLLECTING, _READING)
        running = is_own_job and self.state.busy
        self.cancel_button.layout.display = "" if running else "none"
        self.cancel_button.disabled = not running
        self.collect_button.disabled = self.keys_button.disabled = busy
        self.controls.lock(busy, convertible=bool(self.session.cached_spectra))
        self._progress.value = job_html(job) if is_own_job and job is not None else ""

    def _update_source(self) -> None:
        spectra = self.session.cached_spectra
        self._source.value = source_html(spectra, self._gathered.source)
        self.collect_button.layout.display = "none" if spectra else ""
        self.keys_button.layout.display = "" if spectra and self._keys_stale() else "none"

    def _update_controls(self, own: Threshold) -> None:
        layers = tuple((f"layer {n}", n) for n in self.session.hyperparameters.layers)
        self._filling = True
        try:
            if self._layer.options != layers:
                self._layer.options = layers
            self._layer.value = self.layer
        finally:
            self._filling = False
        self.controls.set(
            own,
            self.spectrum,
            self.session.cached_spectra or {},
            self.session.model.architecture.inner_size,
        )

    def _update_numbers(self) -> None:
        spectrum, problem = self.spectrum, self._problem()
        warnings = [problem] if spectrum is not None else []
        if not problem:
            spectra = (self.session.cached_spectra or {}).values()
            ordered = sorted(spectra, key=lambda s: (s.layer != self.layer, s.layer))
            warnings += [s.threshold_warning(self.state.threshold_at(s.layer)) for s in ordered]
        self._warning.value = warnings_html(warnings)
        if spectrum is None or problem:
            self._numbers.value = self._massive.value = ""
            return
        self._numbers.value = numbers_html(spectrum, self._threshold)
        self._massive.value = text("massive", massive_words(spectrum), tag="p", role="")

    def _update_figure(self, own: Threshold) -> None:
        spectrum, figure = self.spectrum, self.figure
        if figure is None or spectrum is None or self._problem():
            return
        line = self.controls.position if own.rule == "absolute" else log_threshold(spectrum, own)
        view, index = self._view.value, self._index.value
        previous = self._figure_state
        if previous is not None and previous[0] is spectrum and previous[1:] == (view, index):
            figure.move(own, line)
        else:
            figure.draw(spectrum, view, index, own, line)
            self._figure_state = (spectrum, view, index)

    def _update_layers(self) -> None:
        spectra, threshold = self.session.cached_spectra, self.state.threshold_at
        self._layers.value = layers_html(spectra, threshold, self.layer) if spectra else ""

    def _update_facts(self) -> None:
        fact = self.state.fact
        subject = fact.subject if fact is not None else "none"
        self._selected.value = text("selected", f"selected: {subject}", tag="span")
        html = ""
        if self.session.cached_spectra:
            facts = self.key_projection.facts if self.key_projection is not None else []
            has_facts, stale = bool(self._requested_facts()), self._keys_stale()
            html = keys_html(facts, self.shares, fact, has_facts=has_facts, stale=stale)
        self._facts.value = html
