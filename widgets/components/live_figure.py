"""A plotly figure that survives a page reload and follows the page's colors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import ipywidgets as W
import plotly.graph_objects as go

from alphaedit_core.display.escaping import escape


class LiveFigure(W.VBox):
    """A ``plotly.graph_objects.FigureWidget`` in a box.

    Each costs the page 5 MB, so a panel makes one only when it is first looked at.

    Args:
        figure: what to show; its colors of paper, plot and writing are the page's.
        label: what the figure shows, for who cannot see it.

    Attributes:
        figure: the widget; change it inside :meth:`changing` only.
    """

    def __init__(self, figure: go.Figure, label: str) -> None:
        figure.update_layout(
            template="none",
            autosize=True,
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
            font={"family": "inherit", "size": 12},
        )
        self.figure = go.FigureWidget(figure)
        settings: Any = self.figure
        settings._config = {**settings._config, "responsive": True, "displaylogo": False}
        self.label = W.HTML()
        self.label.add_class("ae-hidden")
        super().__init__([self.label, self.figure])
        self.describe(label)
        self.add_class("ae-figure")

    def describe(self, label: str) -> None:
        """Set the figure's description for screen readers."""
        self.label.value = f'<p data-testid="figure-words">{escape(label)}</p>'

    @contextmanager
    def changing(self) -> Iterator[go.FigureWidget]:
        """Change the figure in one message."""
        with self.figure.batch_update():
            yield self.figure
        self._store_traits()

    def _store_traits(self) -> None:
        # A reloaded page receives these two traits, which plotly sets only once, when it makes the
        # widget. Assigning them again makes them match the current figure.
        figure: Any = self.figure
        figure._widget_layout = deepcopy(figure._layout)
        figure._widget_data = deepcopy(figure._data)
