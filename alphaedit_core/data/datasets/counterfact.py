"""CounterFact: facts made false on purpose, with paraphrases, neighbors and texts to write."""

from __future__ import annotations

from typing_extensions import override

from alphaedit_core.data.fact_records import fact_from_record
from alphaedit_core.data.records import Probe, Record

from .base import Dataset
from .fields import Raw, given, other_than, texts


class CounterFact(Dataset):
    """Reader of CounterFact (Meng et al. 2022)."""

    name = "counterfact"
    title = "CounterFact"
    about = "Counterfactual statements; paraphrases, neighbors of the same relation, free text."
    source = "Meng et al. 2022, section 3.3"
    license = "MIT"
    address = "https://memit.baulab.info/data/dsets/counterfact.json"
    publisher = "the projects ROME and MEMIT, memit.baulab.info"
    layout = (
        "requested_rewrite: the fact; paraphrase_prompts, neighborhood_prompts: the fact's "
        "paraphrases and neighbors; attribute_prompts: probes about subjects for which the new "
        "target is true; generation_prompts: probes whose text is judged as a whole, as often as "
        "they are listed. The lists may be missing."
    )

    @override
    def record(self, raw: Raw, name: str) -> Record:
        given(raw, "requested_rewrite")
        fact = fact_from_record(raw)
        wrong = other_than([fact.target_true], [fact.target])
        attributes = [
            Probe("attribute", prompt, (fact.target,), wrong)
            for prompt in texts(raw, "attribute_prompts")
        ]
        written = [Probe("generation", prompt) for prompt in texts(raw, "generation_prompts")]
        return Record(self.name, name, (fact,), (*attributes, *written))
