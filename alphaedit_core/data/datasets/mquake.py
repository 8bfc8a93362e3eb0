"""MQuAKE-CF: multi-hop questions about the consequences of edited facts."""

from __future__ import annotations

from typing_extensions import override

from alphaedit_core.data.fact_records import fact_from_record
from alphaedit_core.data.facts import Fact
from alphaedit_core.data.records import Probe, Record
from alphaedit_core.errors import InputError
from alphaedit_core.messages import kind, shown

from .base import Dataset
from .fields import Raw, given, objects, other_than, text, texts, within


class MQuAKE(Dataset):
    """Reader of MQuAKE-CF (Zhong et al. 2023)."""

    name = "mquake-cf"
    title = "MQuAKE-CF"
    about = "Chains of two to four facts, some of them edited; questions about the chain's end."
    source = "Zhong et al. 2023"
    license = "MIT"
    address = "https://raw.githubusercontent.com/princeton-nlp/MQuAKE/main/datasets/MQuAKE-CF.json"
    publisher = "the repository princeton-nlp/MQuAKE on GitHub, folder datasets"
    layout = (
        "requested_rewrite: one fact or several, each with its question as a paraphrase; "
        'questions: probes "multi-hop", right with new_answer or new_answer_alias, wrong with '
        'answer or answer_alias; new_single_hops: probes "single-hop", one for each link of the '
        "chain, wrong with the answer that single_hops gives to the same question. A name that "
        "is both old and new does not count as wrong. MQuAKE-CF-3k and its second version have the "
        "same layout."
    )

    @override
    def record(self, raw: Raw, name: str) -> Record:
        rewrites = given(raw, "requested_rewrite")
        if not isinstance(rewrites, list) or not rewrites:
            raise InputError(
                f"requested_rewrite {shown(rewrites)} is {kind(rewrites)}; give a list of at least "
                "one object with subject, prompt and target_new"
            )
        facts = []
        for number, rewrite in enumerate(rewrites, 1):
            with within(f"requested_rewrite {number}"):
                facts.append(_fact(rewrite))
        right = (text(raw, "new_answer"), *texts(raw, "new_answer_alias"))
        wrong = other_than((text(raw, "answer"), *texts(raw, "answer_alias")), right)
        asked = [Probe("multi-hop", one, right, wrong) for one in texts(raw, "questions")]
        return Record(self.name, name, tuple(facts), (*asked, *_links(raw)))


def _fact(rewrite: object) -> Fact:
    question = rewrite.get("question") if isinstance(rewrite, dict) else None
    return fact_from_record(
        {
            "requested_rewrite": rewrite,
            "paraphrase_prompts": [] if question is None else [question],
        }
    )


def _links(raw: Raw) -> list[Probe]:
    """Return a probe for each link of the new chain."""
    old = {}
    for number, link in enumerate(objects(raw, "single_hops"), 1):
        with within(f"single_hops {number}"):
            old[text(link, "question")] = (text(link, "answer"), *texts(link, "answer_alias"))
    found = []
    for number, link in enumerate(objects(raw, "new_single_hops"), 1):
        with within(f"new_single_hops {number}"):
            question = text(link, "question")
            right = (text(link, "answer"), *texts(link, "answer_alias"))
        found.append(Probe("single-hop", question, right, other_than(old.get(question, ()), right)))
    return found
