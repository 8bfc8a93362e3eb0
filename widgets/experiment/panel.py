"""The experiment panel: a whole data set, batch by batch, with one or more editors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets as W
from typing_extensions import override

from alphaedit_core.data.datasets.reading import read_records
from alphaedit_core.data.datasets.registry import dataset, datasets
from alphaedit_core.display.tables import html_table
from alphaedit_core.editing.config import EditConfig
from alphaedit_core.errors import InputError
from alphaedit_core.evaluation.metrics.registry import metric_class, metrics_for
from alphaedit_core.experiments.editor_comparison import parse_method
from alphaedit_core.experiments.figures import (
    SHIFTS,
    experiment_curves_html,
    experiment_retention_html,
)
from alphaedit_core.experiments.folder import load_experiment
from alphaedit_core.experiments.plan import ExperimentPlan, ExtraMeasurements, check_final_only
from alphaedit_core.experiments.report import cards, other_cards, save_report
from alphaedit_core.experiments.results import (
    ExperimentResult,
    about,
    held,
    paper_table,
    whole_table,
)
from alphaedit_core.experiments.runner import run_experiment
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.components.panel import Panel, button, row, table, text
from alphaedit_widgets.jobs import Job
from alphaedit_widgets.state import State, settled

from .fields import choices, drift_text, listed, references, running_text, tasks

_WIDE = {"layout": W.Layout(width="460px"), "style": {"description_width": "170px"}}
_NARROW = {"layout": W.Layout(width="260px"), "style": {"description_width": "170px"}}


class ExperimentPanel(Panel):
    """Run or resume an experiment on the unedited model; the session's edits are kept.

    Every field is a widget whose ``value`` can be set from a cell.

    Attributes:
        dataset, path, choices, edits, batch_size, evaluate_every, editors, metrics, compat,
            final_only, references, perplexity, drift, ability, folder: the fields, as ``alphaedit
            experiment`` has them.
        result: the results; None before an experiment was run or opened.
    """

    name = "experiment"
    title = "Experiment"

    def __init__(self, source: EditSession | State) -> None:
        super().__init__(source)
        self.result: ExperimentResult | None = None
        self.dataset = W.Dropdown(description="Data set", options=list(datasets()), **_WIDE)
        self.path = W.Text(description="File", placeholder="download the published file", **_WIDE)
        self.choices = W.Text(
            description="Options", placeholder="none (such as target=alt)", **_WIDE
        )
        self.edits, self.batch_size, self.evaluate_every = (
            W.BoundedIntText(value, min=low, max=1_000_000, description=words, **_NARROW)
            for value, low, words in (
                (100, 1, "Number of records"),
                (20, 1, "Batch size"),
                (0, 0, "Measure every"),
            )
        )
        self.editors = W.Text(
            self.session.hyperparameters.editor, description="Editors", **_WIDE,
            tooltip="separated by commas: alphaedit, memit +previous-keys",
        )  # fmt: skip
        self.final_only = W.Text(
            description="Only at the end",
            placeholder="none (such as fluency, consistency)",
            **_WIDE,
        )
        self.metrics = W.Text(
            description="Metrics",
            placeholder="defaults of the data set",
            **_WIDE,
        )
        self.compat = W.Dropdown(
            description="Definitions",
            options=[("papers", "paper"), ("EasyEdit", "easyedit")],
            tooltip="whose definitions the default metrics follow",
            **_WIDE,
        )
        self.references = W.Text(
            description="Reference texts", placeholder="none (JSON, for consistency)", **_WIDE
        )
        self.perplexity = W.Text(description="Text for perplexity", placeholder="none", **_WIDE)
        self.drift = W.Text(
            description="Text for drift",
            placeholder="held-out text (none: no drift)", **_WIDE,
        )  # fmt: skip
        self.ability = W.Text(
            description="General ability tasks", placeholder="none (a folder of JSON)", **_WIDE
        )
        self.folder = W.Text("experiment", description="Output folder", **_WIDE)
        self.run_button = button(
            "Run the experiment", "run-experiment", self.with_errors_shown("experiment", self.run),
            style="primary", help="resumes the experiment in the folder",
        )  # fmt: skip
        self.cancel_button = button("Cancel", "cancel-experiment", lambda *_: self.state.cancel())
        self.open_button = button(
            "Show stored results",
            "open-experiment",
            self.with_errors_shown("experiment", self.load),
        )
        self._about, self._status, self._shown = W.HTML(), W.HTML(), W.HTML()
        self.show(
            W.HTML(
                "<h3>Sequential experiment</h3><p class='ae-quiet'>Writes the records of a data "
                "set into the unedited model in sequential batches, one editor at a time, and "
                "measures the effect. A stopped experiment resumes; your own edits are "
                "put back.</p>"
            ),
            self.dataset,
            self._about,
            self.path,
            self.choices,
            row(self.edits, self.batch_size, self.evaluate_every),
            self.editors,
            W.HTML(
                "<p class='ae-quiet'>Separate editors by commas, with switches that differ from "
                "the published ones: <code>alphaedit, memit +previous-keys</code>. Metrics are "
                "measured at the end, and also every so many records unless that is 0. Generated "
                "texts (fluency, consistency) take most of the time.</p>"
            ),
            self.metrics,
            self.compat,
            self.final_only,
            self.references,
            self.perplexity,
            self.drift,
            self.ability,
            self.folder,
            row(self.run_button, self.cancel_button, self.open_button, self._status),
            self._shown,
        )
        self.dataset.observe(lambda _: self._say_dataset(), "value")
        self.state.observe(self._job_moved, ["job_updates"])
        self._say_dataset()
        self._job_moved()

    # -- from Python -----------------------------------------------------------------------------

    @property
    def methods(self) -> tuple[EditConfig, ...]:
        """Hyperparameters of the editors, with the session's threshold, text and seed.

        Raises:
            InputError: if an editor is unknown or none is named.
        """
        present, model = self.session.hyperparameters, self.session.model
        names = listed(self.editors.value)
        if not names:
            raise InputError('field "Editors" is empty; give for example alphaedit, memit')
        return tuple(settled(parse_method(name, model), present) for name in names)

    def run(self, block: bool = False) -> Job[ExperimentResult]:
        """Run or resume the experiment.

        Args:
            block: wait until the job has ended and raise its exception, if any.

        Raises:
            InputError: if a field is invalid; nothing is started.
            SessionError: if another job runs.
        """
        metrics = listed(self.metrics.value)
        for name in metrics:
            metric_class(name)
        plan = ExperimentPlan(
            self.methods,
            edits=self.edits.value,
            batch_size=self.batch_size.value,
            evaluate_every=self.evaluate_every.value or None,
            metrics=metrics,
            final_only=listed(self.final_only.value),
            compat=self.compat.value,
            seed=self.session.hyperparameters.seed,
        )
        # Without a file, the job downloads the published data set.
        name = self.path.value.strip()
        path = Path(name).expanduser() if name else None
        quiet = Monitor(show=None)
        reader = dataset(self.dataset.value, **choices(self.choices.value))
        check_final_only(plan.final_only, metrics or metrics_for(reader.name, plan.compat))
        read = partial(read_records, path, reader, plan.edits, fetch=True)
        checked_records = None if path is None else read(monitor=quiet)  # fail before the job
        if not self.folder.value.strip():
            raise InputError('field "Output folder" is empty; give a folder')
        folder = Path(self.folder.value.strip()).expanduser()
        probes = ExtraMeasurements(
            text=running_text(self.perplexity.value),
            tasks=tasks(self.ability.value),
            references=references(self.references.value),
            drift=drift_text(self.drift.value, self.session.hyperparameters.text),
        )
        session = self.session

        def work(monitor: Monitor) -> ExperimentResult:
            records = read(monitor=monitor) if checked_records is None else checked_records
            with session.lend_model() as model:
                result = run_experiment(model, records, plan, folder, probes, monitor)
            save_report(result)
            return result

        return self.state.start("experiment", work, self._show_result, block=block)

    def load(self) -> ExperimentResult:
        """Show stored results.

        Raises:
            InputError: if the folder holds no experiment.
        """
        result = load_experiment(Path(self.folder.value.strip()).expanduser())
        self._show_result(result)
        return result

    @override
    def summary(self) -> str:
        if self.result is None:
            return f"ExperimentPanel({self.dataset.value}: nothing run yet)"
        word = "complete" if self.result.complete else "not complete"
        return f"ExperimentPanel({', '.join(self.result.plan.names())}: {word})"

    @override
    def static_html(self) -> str:
        if self.result is None:
            return super().static_html()
        # The paper's columns and the side effects only; the screen shows every measure.
        headings, rows = paper_table(self.result)
        shown = (*headings, "perplexity", SHIFTS["kl"])
        return html_table(headings, rows) + experiment_curves_html(self.result, shown)

    # -- inside ----------------------------------------------------------------------------------

    def _say_dataset(self) -> None:
        chosen = datasets()[self.dataset.value]
        summary = f"{chosen.title}: {chosen.about} ({chosen.source})"
        options = [f"{name}={value}" for name, values in chosen.options.items() for value in values]
        self.choices.placeholder = f"none (there are {', '.join(options)})" if options else "none"
        self._about.value = (
            f"<p class='ae-quiet'>{text('dataset', summary, role='', tag='span')}</p>"
        )

    def _job_moved(self, *_: Any) -> None:
        busy, job = self.state.foreground_busy, self.state.job
        self.run_button.disabled = busy
        is_own_job = job is not None and job.name == "experiment"
        self.cancel_button.disabled = not (is_own_job and self.state.busy)
        if is_own_job and job is not None:
            words = job.state
            if self.state.busy:
                run_stage = next(
                    (stage for stage in job.stages if stage.name == "experiment"), None
                )
                batches = (
                    ""
                    if run_stage is None
                    else f"batch {run_stage.done:.0f} / {run_stage.total:.0f}"
                )
                words = ", ".join(filter(None, [batches, job.where, job.time_left]))
            elif job.state == "canceled":
                words = "canceled; run again to resume"
            self._status.value = text("experiment-state", words, tag="span")

    def _show_result(self, result: ExperimentResult) -> None:
        self.result = result
        word = "" if result.complete else " Run it to resume."
        where = f"{about(result)} Kept in {result.folder}.{word}"
        self._shown.value = (
            text("experiment-folder", where, tag="p")
            + table(*paper_table(result), "experiment-table", "Table in the paper's layout")
            + experiment_curves_html(result)
            + experiment_retention_html(result, held(result))
            + "<details><summary>Everything measured</summary>"
            + table(*whole_table(result), "experiment-whole")
            + "</details><details><summary>Metric definitions</summary>"
            + table(*cards(result.metrics), "experiment-cards")
            + table(*other_cards(result), "experiment-other-cards")
            + "</details>"
        )
