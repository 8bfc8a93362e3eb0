"""Records of four data sets, judged by a metric from answers that are made up."""

from __future__ import annotations

import math
from collections.abc import Callable

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.records import Probe, Record
from alphaedit_core.evaluation.metrics.base import Metric, MetricContext
from alphaedit_core.evaluation.metrics.registry import metric_class
from alphaedit_core.inference.queries import Answer, LikelihoodQuery, Query
from alphaedit_core.inference.scores import Score

#: The fact that most of the records are about.
FACT = Fact(
    "Eiffel Tower",
    "{} is in the city of",
    "Rome",
    "Paris",
    paraphrases=["One sees the Eiffel Tower in", "Everyone goes to the city of"],
    neighbors=["The Louvre is in the city of", "Newton was born in", "You know that"],
    relation="P276",
)
OTHER = Fact("Newton", "{} was born in", "Japan", "England")
COUNTERFACT = Record(
    "counterfact",
    "case 1",
    (FACT,),
    (
        Probe("generation", "Rome has"),
        Probe("generation", "Go to"),
        Probe("generation", "Rome has"),
    ),
)
KNOWEDIT = Record(
    "knowedit-wiki-recent",
    "record 1",
    (OTHER,),
    (
        Probe("portability/Reasoning", "Newton spoke", ("Japanese", "Nihongo")),
        Probe("portability/Reasoning", "Newton's country is in", ("Asia",)),
        Probe("locality/Relation", "Newton died in", ("London", "London, England")),
    ),
)
MQUAKE = Record(
    "mquake-cf",
    "case 2",
    (FACT, OTHER),
    (
        Probe("multi-hop", "Where is it?", ("Italy", "Italian Republic"), ("France",)),
        Probe("multi-hop", "In which land?", ("Italy", "Italian Republic"), ("France",)),
        Probe("single-hop", "In which city is it?", ("Rome", "Roma"), ("Paris",)),
        Probe("single-hop", "In which land is Rome?", ("Italy", "Italian Republic")),
    ),
)
LONGFORM = Record(
    "longform",
    "case 3",
    (FACT,),
    (
        Probe("essay/subject", "Write about the Eiffel Tower", ("Rome",), ("Paris",)),
        Probe("essay/coupled", "Write about Eiffel", ("Rome",), ("Paris",)),
    ),
)


def made(name: str, given: MetricContext | None = None) -> Metric:
    """A metric by its name."""
    found = metric_class(name)
    assert issubclass(found, Metric)
    return found(given)


def judged(
    name: str, record: Record, answer: Callable[[Query], Answer], given: MetricContext | None = None
) -> float | None:
    """A record's value where every question is answered by a function."""
    metric = made(name, given)
    return metric.value(record, [answer(ask) for ask in metric.queries(record)])


def likelihood(nll: float, correct: float = 0.0) -> Score:
    """What a model would say of a target of this likelihood."""
    return Score(nll, math.exp(-nll), correct == 1, 1, correct)


def by_nll(known: dict[tuple[str, str], float]) -> Callable[[Query], Answer]:
    """Answers of these negative log-likelihoods, by prompt and target; 2 for any other."""

    def answer(ask: Query) -> Answer:
        assert isinstance(ask, LikelihoodQuery)
        return likelihood(known.get((ask.prompt, ask.target), 2.0))

    return answer


def by_correct(known: dict[str, float]) -> Callable[[Query], Answer]:
    """Answers that are right to these shares, by prompt and target; 0 for any other."""

    def answer(ask: Query) -> Answer:
        assert isinstance(ask, LikelihoodQuery)
        return likelihood(1.0, known.get(f"{ask.prompt} {ask.target}", 0.0))

    return answer
