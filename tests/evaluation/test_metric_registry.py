"""The registry of metrics: what each says of itself, which are usual, and new ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from alphaedit_core import registry
from alphaedit_core.data.facts import Fact
from alphaedit_core.data.records import Record
from alphaedit_core.errors import InputError
from alphaedit_core.evaluation.metrics import registry as metrics_module
from alphaedit_core.evaluation.metrics.base import CompositeMetric, Metric
from alphaedit_core.evaluation.metrics.registry import metric_class, metrics, metrics_for, register
from alphaedit_core.experiments.folder import load_experiment
from alphaedit_core.inference.queries import LikelihoodQuery

#: The published identifiers, in table order.
PUBLISHED_METRICS = [
    *("efficacy", "generalization", "specificity", "score"),
    *("efficacy_accuracy", "generalization_accuracy", "specificity_accuracy"),
    *("rewrite_acc", "rephrase_acc", "neighborhood_acc"),
    *("portability", "portability_acc", "locality", "locality_acc"),
    *("single_hops", "multi_hop", "multi_hop_tokens"),
    *("essay_new", "essay_no_old", "essay_coupled_new", "essay_coupled_no_old"),
    *("generation_starts", "generation_contains", "chat_contains"),
    *("fluency", "consistency"),
]


def test_every_metric_says_what_it_is() -> None:
    assert len(metrics()) > 20
    for name, metric in metrics().items():
        card = metric.card()
        assert card["name"] == name and metric.direction in ("higher", "lower")
        assert all(card[field] for field in ("title", "formula", "source", "unit")), name
        if issubclass(metric, Metric):
            assert metric.needs
        assert metric_class(name) is metric
    assert list(metrics())[:4] == ["efficacy", "generalization", "specificity", "score"]
    with pytest.raises(InputError, match="efficacy"):
        metric_class("efficiency")


def test_the_usual_metrics_of_each_data_set() -> None:
    assert set(metrics_for("counterfact")) >= {
        *("efficacy", "generalization", "specificity", "score", "fluency", "consistency"),
        *(
            "efficacy_accuracy",
            "generalization_accuracy",
            "specificity_accuracy",
            "generation_contains",
        ),
    }
    zsre, toolkit = metrics_for("zsre"), metrics_for("zsre", "easyedit")
    assert {"rewrite_acc", "rephrase_acc"} <= set(zsre) & set(toolkit)
    assert "neighborhood_acc" in zsre.keys() - toolkit.keys()
    assert "locality_acc" in toolkit.keys() - zsre.keys()
    assert metrics_for("knowedit-wiki-recent") == metrics_for("knowedit")
    assert {"portability", "locality", "fluency"} <= set(metrics_for("knowedit"))
    assert {"portability_acc", "locality_acc"} <= set(metrics_for("knowedit", "easyedit"))
    assert {"single_hops", "multi_hop", "multi_hop_tokens"} <= set(metrics_for("mquake-cf"))
    assert {"essay_new", "essay_coupled_no_old"} <= set(metrics_for("longform"))
    with pytest.raises(InputError, match="--metrics"):
        metrics_for("weather")
    with pytest.raises(InputError, match="easyedit"):
        metrics_for("zsre", "mine")  # type: ignore[arg-type]


def test_a_metric_that_lives_elsewhere_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module._REGISTRY, "_classes", metrics())

    class Length(CompositeMetric):
        name = "length"
        title = "Length"
        formula = "how long it is"
        source = "nobody"
        of = ("fluency",)

        def combine(self, means: object) -> float:
            return 1.0

    assert register(Length) is Length and metrics()["length"] is Length
    assert list(metrics())[-1] == "length"
    assert register(Length) is Length

    class Same(Length):
        pass

    with pytest.raises(InputError, match="exists already"):
        register(Same)

    class Nameless(CompositeMetric):
        name = "nameless"

    with pytest.raises(InputError, match="no title"):
        register(Nameless)


@pytest.fixture
def install_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, str]], None]:
    """Replace the installed entry points by modules with the given code, and scan again."""

    def install(code_by_class: dict[str, str]) -> None:
        points = []
        for class_name, code in code_by_class.items():
            module = f"plugged_{class_name.lower()}"
            (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
            monkeypatch.delitem(sys.modules, module, raising=False)
            points.append(EntryPoint(module, f"{module}:{class_name}", "alphaedit.metrics"))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(
            registry, "entry_points", lambda group: points * (group == "alphaedit.metrics")
        )
        monkeypatch.setattr(metrics_module._REGISTRY, "_classes", {})
        monkeypatch.setattr(metrics_module._REGISTRY, "_is_scanned", False)

    return install


def test_metric_names_are_the_published_list(
    install_entry_points: Callable[[dict[str, str]], None],
) -> None:
    install_entry_points({})
    assert list(metrics()) == PUBLISHED_METRICS


def test_metric_from_entry_point_is_registered(
    install_entry_points: Callable[[dict[str, str]], None],
) -> None:
    install_entry_points(
        {
            "Plugged": """
from alphaedit_core.evaluation.metrics.judgments import ExactMatch
from alphaedit_core.evaluation.metrics.prompt_metric import PromptMetric
from alphaedit_core.evaluation.metrics.prompt_sets import paraphrase


class Plugged(PromptMetric):
    name, title, formula, source = "plugged", "Plugged", "exact after paraphrases", "a plug-in"
    needs = "paraphrases"
    prompts = staticmethod(paraphrase)
    judgment = ExactMatch()
"""
        }
    )
    assert list(metrics()) == [*PUBLISHED_METRICS, "plugged"]
    fact = Fact("Rome", "{} is in", "Italy", paraphrases=("Rome lies in",))
    plugged = metric_class("plugged")
    assert issubclass(plugged, Metric)
    (query,) = plugged().queries(Record("counterfact", "1", (fact,)))
    assert query == LikelihoodQuery("Rome lies in", "Italy")


@pytest.mark.parametrize(
    ("former", "name"),
    [
        ("generalisation", "generalization"),
        ("generalisation_accuracy", "generalization_accuracy"),
        ("said_first", "generation_starts"),
        ("said", "generation_contains"),
        ("said_in_chat", "chat_contains"),
    ],
)
def test_a_former_name_is_understood(former: str, name: str) -> None:
    assert metric_class(former) is metrics()[name]
    assert former not in metrics()


def test_experiments_of_a_former_version_have_the_present_names() -> None:
    """The stored ones were run when metrics were called otherwise."""
    found = load_experiment(Path(__file__).parents[2] / "benchmarks" / "sequence-300")
    assert {"generalization", "generation_starts", "chat_contains"} <= set(found.metrics)
    assert set(found.metrics) <= set(metrics())
    assert set(found.plan.metrics) <= set(metrics())
