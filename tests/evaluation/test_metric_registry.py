"""The registry of metrics: what each says of itself, which are usual, and new ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphaedit_core.errors import InputError
from alphaedit_core.evaluation.metrics import registry as metrics_module
from alphaedit_core.evaluation.metrics.base import CompositeMetric, Metric
from alphaedit_core.evaluation.metrics.registry import metric_class, metrics, metrics_for, register
from alphaedit_core.experiments.folder import load_experiment


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
