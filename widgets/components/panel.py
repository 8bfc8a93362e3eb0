"""What all panels share: looks, hooks for tests, and a static picture where no kernel runs."""

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
        """The session that is looked at."""
        return self.state.session

    def show(self, *rows: W.Widget) -> None:
        """Set what the panel consists of, under its style."""
        self.children = (PanelStyle(), *rows)

    def on_first_show(self) -> None:
        """Called when the panel is first shown, for what is not worth making before; idempotent."""

    def summary(self) -> str:
        """One line that says what the panel shows; the same on every machine for equal inputs."""
        return f"{type(self).__name__}({self.session!r})"

    def static_html(self) -> str:
        """What is shown where no kernel runs: a small table, a picture in an ``<img>``."""
        return f"<p>{escape(self.summary())}</p>"

    def __repr__(self) -> str:
        return self.summary()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        self.on_first_show()
        bundle: Any = super()._repr_mimebundle_(**kwargs)
        shown: dict[str, Any] = dict(bundle[0] if isinstance(bundle, tuple) else bundle or {})
        return shown | {"text/plain": repr(self), "text/html": self.static_html()}

    def with_errors_shown(self, doing: str, action: Callable[[], object]) -> Callable[..., None]:
        """A callback that shows what goes wrong in the header instead of losing it."""

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
    """A button with words on it and the class ``ae-<hook>``."""
    made = W.Button(description=label, tooltip=help or label, button_style=style)
    made.layout.width = "auto"
    made.add_class(f"ae-{hook}")
    made.on_click(action)
    return made


def text(testid: str, content: str = "", *, role: str = "status", tag: str = "div") -> str:
    """HTML of a line of text (escaped) that a test can find and a screen reader announces."""
    mark = f' role="{role}"' if role else ""
    return f'<{tag}{mark} data-testid="{testid}">{escape(content)}</{tag}>'


def row(*children: W.Widget, hook: str = "") -> W.HBox:
    """Widgets side by side, broken into lines where there is no room."""
    made = W.HBox(list(children))
    made.add_class("ae-row")
    if hook:
        made.add_class(f"ae-{hook}")
    return made


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], testid: str, caption: str = ""
) -> str:
    """A table of plain texts, all escaped."""
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
