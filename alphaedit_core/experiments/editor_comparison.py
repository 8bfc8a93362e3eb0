"""Comparison of editors: each one writes the same facts into the same unedited model.

Editors with the same target search share its results. The session is unchanged afterwards.
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
    """The edit of one editor and the scores afterwards.

    Attributes:
        hyperparameters: configuration of the editor.
        result: result of the edit.
        after: scores of the edited model.
        seconds: duration of the edit, including the responses before and after, without the
            statistics. Target values that an earlier editor already searched take no time.
    """

    hyperparameters: EditConfig
    result: EditResult
    after: Measures
    seconds: float


@dataclass(frozen=True)
class EditorComparison:
    """Scores of several editors on the same facts.

    Attributes:
        facts: the facts.
        before: scores of the unedited model.
        runs: one run per editor, in the order of the call.
    """

    facts: Sequence[Fact]
    before: Measures
    runs: Sequence[EditorRun]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table: a row for the unedited model, then a row per editor."""
        rows = [("unedited", *_cells(self.before), "")]
        for run in self.runs:
            cells = _cells(run.after)
            rows.append((run.hyperparameters.method, *cells, f"{run.seconds:.1f}"))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return everything except the results per fact, as JSON-serializable values."""
        return {
            "facts": [fact.to_dict() for fact in self.facts],
            "before": asdict(self.before),
            "runs": [
                {
                    "method": run.hyperparameters.method,
                    "hyperparameters": run.hyperparameters.to_dict(),
                    "written": run.result.written,
                    "after": asdict(run.after),
                    "seconds": run.seconds,
                }
                for run in self.runs
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
        for run in self.runs:
            hp, result = run.hyperparameters, run.result
            rows.append(
                (hp.method, hp.editor, *_numbers(run.after), result.written, count, run.seconds)
            )
        return data_frame(columns, rows)

    def __repr__(self) -> str:
        return text_table(_HEADINGS, self.rows())

    def _repr_html_(self) -> str:
        return html_table(_HEADINGS, self.rows())


def parse_method(text: str, model: EditableModel) -> EditConfig:
    """Return the hyperparameters of a method such as ``alphaedit-previous-keys``.

    Args:
        text: name of an editor, then ``+`` or ``-`` and ``projection`` or ``previous-keys``.
        model: the model whose default hyperparameters are used.

    Raises:
        InputError: if there is no such editor, or it does not support a switch.
    """
    name, switches = check_method(text)
    return default_hyperparameters(model, name).replace(**switches)


def check_method(text: str) -> tuple[str, dict[str, bool]]:
    """Return name and switches of a method as :func:`parse_method` accepts it; needs no model.

    Raises:
        InputError: if there is no such editor, or it does not support a switch.
    """
    match = _METHOD.fullmatch("".join(text.split()))
    if match is None:
        raise InputError(f'method "{text}" is not understood; give for example memit+projection')
    editor = editor_class(match["name"])
    switches = {
        name.replace("-", "_"): sign == "+"
        for sign, name in re.findall(r"([+-])(projection|previous-keys)", match["switches"])
    }
    if switches.get("previous_keys") and editor.previous_keys is None:
        raise InputError(
            f'method "{text}": {editor.name} does not use previous keys; leave them out'
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
    """Write facts into the unedited model with each of several editors, and score each result.

    Args:
        session: session whose model is used; its edits are restored bit for bit afterwards.
        facts: facts to write.
        methods: hyperparameters, or methods as :func:`parse_method` accepts them.
        batch_size: facts per batch.
        text: running text for perplexity; None to skip it.
        monitor: receives progress.
        targets: cache of target values, read and extended; None for the session's own, or for a
            cache of this call alone if the session has none.

    Raises:
        InputError: if the facts or a method cannot be used; checked before any work.
        SessionError: if another thread uses the model.
        Canceled: if canceled; the session is unchanged.
    """
    monitor, facts = monitor or Monitor(), check_facts(facts)
    configs = [
        parse_method(method, session.model) if isinstance(method, str) else method
        for method in methods
    ]
    if not configs:
        raise InputError("no editor is given; give at least one")
    for hp in configs:
        validated_editor(session.model, hp)
    if targets is None:
        targets = {} if session.targets is None else session.targets
    contexts = session.contexts
    runs: list[EditorRun] = []
    with monitor.stage("editors", len(configs), "editor"), session.lend_model() as model:
        before = counterfact_scores(model, facts, text, monitor)
        for hp in configs:
            monitor.check()
            trial = EditSession(model, None, hp, contexts, targets)
            try:
                # Computed first: whether the spectra are cached must not change the seconds.
                trial.spectra(monitor)
                start = time.perf_counter()
                result = trial.edit(facts, batch_size, monitor)
                seconds = time.perf_counter() - start
                after = counterfact_scores(model, facts, text, monitor)
                runs.append(EditorRun(hp, result, after, seconds))
            finally:
                trial.close()
            monitor.advance()
    return EditorComparison(facts, before, runs)


def _numbers(measures: Measures) -> tuple[float | None, ...]:
    """Scores in the order of the columns of :meth:`EditorComparison.to_pandas`."""
    return (
        measures.efficacy,
        measures.generalization,
        measures.specificity,
        measures.exact,
        measures.perplexity,
    )


def _cells(measures: Measures) -> tuple[str, ...]:
    values = (measures.efficacy, measures.generalization, measures.specificity, measures.exact)
    perplexity = "" if measures.perplexity is None else f"{measures.perplexity:.2f}"
    return (*("n/a" if value is None else f"{value:.1f}" for value in values), perplexity)
