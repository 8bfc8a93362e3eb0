"""Editors side by side: the same facts, written into the same unedited model by each.

Target values are searched once where editors search alike, and everything is as it was afterwards.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from alphaedit_core.data.facts import Fact, check_facts
from alphaedit_core.display.data_frames import data_frame
from alphaedit_core.display.tables import html_table, text_table
from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.defaults import default_hyperparameters, validated_editor
from alphaedit_core.editing.editors.registry import editor_class
from alphaedit_core.editing.target_search import Targets
from alphaedit_core.errors import InputError
from alphaedit_core.evaluation.counterfact_scores import Measures, counterfact_scores
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.progress import Monitor
from alphaedit_core.session.results import EditResult
from alphaedit_core.session.session import EditSession

if TYPE_CHECKING:
    import pandas

_METHOD = re.compile(r"(?P<name>.+?)(?P<switches>(?:[+-](?:projection|previous-keys))*)")
_HEADINGS = (
    "method", "efficacy", "generalization", "specificity", "exact", "perplexity", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class EditorRun:
    """What one editor made of the facts.

    Attributes:
        hyperparameters: what it was run with.
        result: the edit.
        after: measures of the edited model.
        seconds: of the edit with what the model says before and after, the statistics left out; a
            search that another editor had done already costs nothing here.
    """

    hyperparameters: EditConfig
    result: EditResult
    after: Measures
    seconds: float


@dataclass(frozen=True)
class EditorComparison:
    """Several editors on the same facts.

    Attributes:
        facts: the facts.
        before: measures of the unedited model.
        rivals: one for each editor, in the order asked for.
    """

    facts: Sequence[Fact]
    before: Measures
    rivals: Sequence[EditorRun]

    def rows(self) -> list[tuple[str, ...]]:
        """The table: the unedited model, then each editor."""
        rows = [("unedited", *_cells(self.before), "")]
        for rival in self.rivals:
            cells = _cells(rival.after)
            rows.append((rival.hyperparameters.method, *cells, f"{rival.seconds:.1f}"))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Everything but the results of single facts, ready for JSON."""
        return {
            "facts": [fact.to_dict() for fact in self.facts],
            "before": asdict(self.before),
            "rivals": [
                {
                    "method": rival.hyperparameters.method,
                    "hyperparameters": rival.hyperparameters.to_dict(),
                    "written": rival.result.written,
                    "after": asdict(rival.after),
                    "seconds": rival.seconds,
                }
                for rival in self.rivals
            ],
        }

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame with the unedited model in the first row, then one row per editor.

        Columns:

        - ``method``: the editor with its switches, or ``unedited``; ``editor``: its name alone.
        - ``efficacy``, ``generalization``, ``specificity``, ``exact_match``: %, see
          :class:`~.counterfact_scores.Measures`.
        - ``perplexity``: of the running text.
        - ``written``: facts whose target is the model's first choice token by token; ``facts``: all
          facts.
        - ``seconds``: duration of the edit.

        Raises:
            InputError: if pandas is not installed.
        """
        columns = {
            "method": str, "editor": str, "efficacy": float, "generalization": float,
            "specificity": float, "exact_match": float, "perplexity": float, "written": float,
            "facts": int, "seconds": float,
        }  # fmt: skip
        count = len(self.facts)
        rows: list[tuple[object, ...]] = [
            ("unedited", None, *_numbers(self.before), None, count, None)
        ]
        for rival in self.rivals:
            hp, result = rival.hyperparameters, rival.result
            rows.append(
                (hp.method, hp.editor, *_numbers(rival.after), result.written, count, rival.seconds)
            )
        return data_frame(columns, rows)

    def __repr__(self) -> str:
        return text_table(_HEADINGS, self.rows())

    def _repr_html_(self) -> str:
        return html_table(_HEADINGS, self.rows())


def parse_method(text: str, model: EditableModel) -> EditConfig:
    """The hyperparameters of ``memit``, ``memit+projection`` or ``alphaedit-previous-keys``.

    Raises:
        InputError: if there is no such editor, or a switch means nothing for it.
    """
    name, switches = check_method(text)
    return default_hyperparameters(model, name).replace(**switches)


def check_method(text: str) -> tuple[str, dict[str, bool]]:
    """Name and switches of a method in words; needs no model.

    Raises:
        InputError: if there is no such editor, or a switch means nothing for it.
    """
    found = _METHOD.fullmatch("".join(text.split()))
    if found is None:
        raise InputError(f'method "{text}" is not understood; give for example memit+projection')
    editor = editor_class(found["name"])
    switches = {
        name.replace("-", "_"): sign == "+"
        for sign, name in re.findall(r"([+-])(projection|previous-keys)", found["switches"])
    }
    if switches.get("previous_keys") and editor.previous_keys is None:
        raise InputError(
            f'method "{text}": previous keys mean nothing for {editor.name}; leave them out'
        )
    return editor.name, switches


def compare_editors(
    session: EditSession,
    facts: Sequence[Fact],
    methods: Sequence[EditConfig | str],
    batch_size: int = 100,
    text: str | None = None,
    monitor: Monitor | None = None,
    targets: dict[str, Targets] | None = None,
) -> EditorComparison:
    """Write facts into the unedited model by each of several editors, and measure each.

    Args:
        session: whose model is lent; its own edits are put back afterwards, bit for bit.
        facts: the facts.
        methods: hyperparameters, or methods in words as :func:`parse_method` takes them.
        batch_size: facts that are written together.
        text: running text for the perplexity; None for none.
        monitor: what to report to.
        targets: where target values are kept for later comparisons, and taken from; None for the
            session's own, or for this comparison alone if it keeps none.

    Raises:
        InputError: if the facts or a method cannot be used, before any work.
        SessionError: if another thread uses the model.
        Canceled: if canceled; everything is as before.
    """
    monitor, facts = monitor or Monitor(), check_facts(facts)
    wanted = [
        parse_method(method, session.model) if isinstance(method, str) else method
        for method in methods
    ]
    if not wanted:
        raise InputError("no editor is named; give at least one")
    for hp in wanted:
        validated_editor(session.model, hp)
    if targets is None:
        targets = {} if session.targets is None else session.targets
    contexts = session.contexts
    rivals: list[EditorRun] = []
    with monitor.stage("editors", len(wanted), "editor"), session.lend_model() as model:
        before = counterfact_scores(model, facts, text, monitor)
        for hp in wanted:
            monitor.check()
            own = EditSession(model, None, hp, contexts, targets)
            try:
                own.spectra(monitor)  # from the cache or not, they are no part of the edit
                start = time.perf_counter()
                result = own.edit(facts, batch_size, monitor)
                seconds = time.perf_counter() - start
                rivals.append(
                    EditorRun(hp, result, counterfact_scores(model, facts, text, monitor), seconds)
                )
            finally:
                own.close()
            monitor.advance()
    return EditorComparison(facts, before, rivals)


def _numbers(measures: Measures) -> tuple[float | None, ...]:
    """The measures in the order of the columns of :meth:`EditorComparison.to_pandas`."""
    return (
        measures.efficacy,
        measures.generalization,
        measures.specificity,
        measures.exact,
        measures.perplexity,
    )


def _cells(measures: Measures) -> tuple[str, ...]:
    values = (measures.efficacy, measures.generalization, measures.specificity, measures.exact)
    read = "" if measures.perplexity is None else f"{measures.perplexity:.2f}"
    return (*("n/a" if value is None else f"{value:.1f}" for value in values), read)
