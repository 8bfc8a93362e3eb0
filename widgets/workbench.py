"""The workbench: all panels over one session, in tabs under one header."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets as W
from typing_extensions import override

from alphaedit_core.data.facts import Fact
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.compare.panel import ComparePanel
from alphaedit_widgets.components.panel import Panel
from alphaedit_widgets.drift.panel import DriftPanel
from alphaedit_widgets.edit.panel import EditPanel
from alphaedit_widgets.editors.panel import EditorsPanel
from alphaedit_widgets.experiment.panel import ExperimentPanel
from alphaedit_widgets.export.panel import ExportPanel
from alphaedit_widgets.facts.panel import FactsPanel
from alphaedit_widgets.history.panel import HistoryPanel
from alphaedit_widgets.probes.panel import ProbesPanel
from alphaedit_widgets.spectrum.panel import SpectrumPanel

from .header import StatusBar
from .jobs import Job
from .state import State


class Workbench(Panel):
    """All panels of an edit session in one widget: facts, null space, edit, compare, export.

    Example:
        >>> wb = Workbench(EditSession(load_model()))  # doctest: +SKIP
        >>> wb.facts = example_facts()[:3]  # doctest: +SKIP
        >>> wb.spectrum.threshold = 0.01  # doctest: +SKIP
        >>> wb.edit.run(block=True)  # doctest: +SKIP
        >>> wb  # doctest: +SKIP

    Every value on the screen can be read and set from a cell; every button has a method.

    Attributes:
        header, facts_panel, spectrum, edit, compare, probes, drift, history, editors, experiment,
            export: the panels.
    """

    name = "workbench"
    title = "Workbench"

    def __init__(self, source: EditSession | State) -> None:
        super().__init__(source)
        self.tabs = W.Tab()
        self._fill()
        self.tabs.observe(lambda _: self._open(), "selected_index")

    def _fill(self) -> None:
        """Create all panels for the current session."""
        state = self.state
        self.header = StatusBar(state, loaded=self.replace_session)
        self.facts_panel = FactsPanel(state)
        self.spectrum = SpectrumPanel(state)
        self.edit = EditPanel(state)
        self.compare = ComparePanel(state)
        self.probes = ProbesPanel(state)
        self.drift = DriftPanel(state)
        self.history = HistoryPanel(state)
        self.editors = EditorsPanel(state)
        self.experiment = ExperimentPanel(state)
        self.export = ExportPanel(state, loaded=self.replace_session)
        self.panels: tuple[Panel, ...] = (
            self.facts_panel, self.spectrum, self.edit, self.compare, self.probes, self.drift,
            self.history, self.editors, self.experiment, self.export,
        )  # fmt: skip
        self.tabs.children = self.panels
        self.tabs.titles = [panel.title for panel in self.panels]
        self.show(self.header, self.tabs)

    def replace_session(self, session: EditSession) -> None:
        """Show another session; entered facts are kept."""
        drafts, old = self.state.drafts, self.panels
        self.state = State(session)
        self.state.drafts, self.state.selected = drafts, 0 if drafts else -1
        self._fill()
        self.tabs.selected_index = 0
        for panel in old:
            panel.close()

    # -- from the next cell ----------------------------------------------------------------------

    @property
    def facts(self) -> list[Fact]:
        """The facts that are ready to edit."""
        return self.state.facts

    @facts.setter
    def facts(self, facts: Sequence[Fact]) -> None:
        self.state.facts = facts

    @property
    def selected(self) -> int:
        """Index of the selected row of the facts table; -1 if none is selected."""
        return int(self.state.selected)

    @selected.setter
    def selected(self, index: int) -> None:
        self.state.selected = index

    @property
    def job(self) -> Job[Any] | None:
        """The running or last job."""
        job: Job[Any] | None = self.state.job
        return job

    # -- showing ---------------------------------------------------------------------------------

    def select_tab(self, title: str) -> None:
        """Select a tab by its title.

        Raises:
            ValueError: if no tab has this title.
        """
        self.tabs.selected_index = [panel.title for panel in self.panels].index(title)

    @override
    def on_first_show(self) -> None:
        self._open()

    def _open(self) -> None:
        if self.tabs.selected_index is not None:
            self.panels[self.tabs.selected_index].on_first_show()

    @override
    def summary(self) -> str:
        hp = self.session.hyperparameters
        return (
            f"Workbench({self.session.model.name}, {hp.method}, layers {hp.layers[0]}–"
            f"{hp.layers[-1]}, threshold {hp.threshold_words}, facts: {len(self.facts)}, "
            f"edits: {self.session.applied})"
        )

    @override
    def static_html(self) -> str:
        return "".join(panel.static_html() for panel in (self.header, *self.panels))
