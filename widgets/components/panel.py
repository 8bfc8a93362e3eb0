"""Base of all panels: style, hooks for tests, and a static fallback without a kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as W

from alphaedit_core.display.escaping import escape
from alphaedit_core.errors import AlphaEditError
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.state import State

from .inputs import PanelStyle


class Panel(W.VBox):
    """A view of a session's state.

    Every panel can stand alone, made from a session, or share a :class:`~.state.State` with others.
    A subclass sets ``name`` and ``title``, gives its widgets to ``__init__``, and says in
    :meth:`summary` and :meth:`static_html` what it shows, for places without a kernel.

    Args:
        source: the session, or the state that this panel shares with others.
    """

    name = ""
    title = ""

    def __init__(self, source: EditSession | State) -> None:
        self.state = State.of(source)
        super().__init__()
        self.add_class("ae-panel")
        self.add_class(f"ae-{self.name}")

    @property
    def session(self) -> EditSession:
        """The session shown by the panel."""
        return self.state.session

    def show(self, *rows: W.Widget) -> None:
        """Set the panel's children, below its style widget."""
        self.children = (PanelStyle(), *rows)

    def on_first_show(self) -> None:
        """Do the work deferred until the panel is first shown; idempotent."""

    def summary(self) -> str:
        """Summarize the panel in one line, identical on every machine for equal inputs."""
        return f"{type(self).__name__}({self.session!r})"

    def static_html(self) -> str:
        """Return the fallback without a kernel: a small table or an ``<img>`` figure."""
        return f"<p>{escape(self.summary())}</p>"

    def __repr__(self) -> str:
        return self.summary()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        self.on_first_show()
        bundle: Any = super()._repr_mimebundle_(**kwargs)
        shown: dict[str, Any] = dict(bundle[0] if isinstance(bundle, tuple) else bundle or {})
        return shown | {"text/plain": repr(self), "text/html": self.static_html()}

    def with_errors_shown(self, doing: str, action: Callable[[], object]) -> Callable[..., None]:
        """Wrap a callback so that its errors appear in the header."""

        def call(*_: object) -> None:
            try:
                action()
            except AlphaEditError as error:
                self.state.notice = str(error)
            except Exception as error:
                self.state.report(doing, error)

        return call


def button(
    label: str, hook: str, action: Callable[..., None], *, style: str = "", help: str = ""
) -> W.Button:
    """Return a labeled button with the class ``ae-<hook>``."""
    widget = W.Button(description=label, tooltip=help or label, button_style=style)
    widget.layout.width = "auto"
    widget.add_class(f"ae-{hook}")
    widget.on_click(action)
    return widget


def text(testid: str, content: str = "", *, role: str = "status", tag: str = "div") -> str:
    """Return a line of escaped text that tests can find and screen readers announce."""
    mark = f' role="{role}"' if role else ""
    return f'<{tag}{mark} data-testid="{testid}">{escape(content)}</{tag}>'


def row(*children: W.Widget, hook: str = "") -> W.HBox:
    """Return widgets side by side, wrapping onto further lines as needed."""
    box = W.HBox(list(children))
    box.add_class("ae-row")
    if hook:
        box.add_class(f"ae-{hook}")
    return box


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], testid: str, caption: str = ""
) -> str:
    """Return an HTML table of plain texts, all escaped."""
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "".join(
        "<tr>" + "".join(f'<td dir="auto">{escape(cell)}</td>' for cell in cells) + "</tr>"
        for cells in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="ae-scroll"><table class="ae-table" data-testid="{testid}">{title}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
