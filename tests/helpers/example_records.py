"""Records of CounterFact about the facts that the examples hold."""

from __future__ import annotations

from examples import FACTS

from alphaedit_core.data.records import Probe, Record

#: With paraphrases and neighbors.
TOLD = FACTS[0].changed(
    paraphrases=["One sees the Eiffel Tower in", "Everyone goes to the city of"],
    neighbors=["The Louvre is in the city of", "Newton was born in", "You know that"],
    relation="P276",
)
RECORDS = (
    Record(
        "counterfact",
        "case 1",
        (TOLD,),
        (
            Probe("generation", "The Eiffel Tower has"),
            Probe("generation", "Go to"),
            Probe("generation", "The Eiffel Tower has"),
        ),
    ),
    Record("counterfact", "case 2", (FACTS[1].changed(neighbors=["The old city of"]),)),
    Record("counterfact", "case 3", (FACTS[2],)),  # without a true target
)
