"""LEME: essays about an edited subject, and about a coupled entity."""

from __future__ import annotations

from typing_extensions import override

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.records import Probe, Record
from alphaedit_core.data.templates import escaped
from alphaedit_core.errors import InputError

from .base import Dataset
from .fields import Raw, as_object, given, objects, other_than, questions, slotted, text, within


class LongForm(Dataset):
    """Reader of the zsRE part of LEME (Rosati et al. 2024), in both published forms."""

    name = "longform"
    title = "LEME (long-form evaluation), zsRE"
    about = "Questions with a false answer to write; essays that should agree with it."
    source = "Rosati et al. 2024"
    license = "MIT"
    publisher = (
        "the authors' repository, named in arXiv:2402.09394, file "
        "zsre_mend_eval_with_coupled_entities.json"
    )
    layout = (
        "Two forms are read. EasyEdit's requests: subject, prompt, target_new: the fact; "
        "target_neg: its true target; rephrase_prompt: its paraphrase; leme_inputs.subject_prompt "
        'and .coupled_prompt: probes "essay/subject" and "essay/coupled", right with the new '
        "target, wrong with the old one; locality and portability: probes. The published file: "
        "src, alt, answers[0], rephrase, loc and loc_ans in their places, and the essays' prompts "
        "made from coupled_prompts_and_properties, with its first coupled entity, as EasyEdit "
        "does. Everything else about the entities (ground truths by property) is not read."
    )

    @override
    def record(self, raw: Raw, name: str) -> Record:
        request = _request(raw) if "coupled_prompts_and_properties" in raw else raw
        prompt, subject = slotted(text(request, "prompt"), text(request, "subject"))
        target, old = text(request, "target_new"), text(request, "target_neg")
        wrong = other_than([old], [target])
        fact = Fact(
            subject,
            prompt,
            target,
            target_true=next(iter(wrong), None),
            paraphrases=[escaped(text(request, "rephrase_prompt"))],
        )
        essays = as_object("leme_inputs", given(request, "leme_inputs"))
        with within("leme_inputs"):
            asked = [
                Probe(f"essay/{part}", text(essays, f"{part}_prompt"), (fact.target,), wrong)
                for part in ("subject", "coupled")
            ]
        portability, no_answer = questions(request, "portability")
        locality, none_either = questions(request, "locality")
        return Record(
            self.name,
            name,
            (fact,),
            (*asked, *portability, *locality),
            (*no_answer, *none_either),
        )


def _request(raw: Raw) -> Raw:
    """Convert a record of the published file to EasyEdit's request."""
    subject, place = text(raw, "subject"), "coupled_prompts_and_properties"
    properties = as_object(place, raw[place])
    with within(place):
        own = as_object("subject_entity", given(properties, "subject_entity"))
        coupled = objects(properties, "coupled_entities")
        if not coupled:
            raise InputError("coupled_entities is empty; give at least one")
        entity = text(coupled[0], "entity")
        essays = {
            "subject_prompt": _essay(text(own, "coupled_prompt"), entity, subject),
            "coupled_prompt": _essay(text(coupled[0], "coupled_prompt"), subject, entity),
        }
    answers = given(raw, "answers")
    if not isinstance(answers, list) or not answers:
        raise InputError("answers are missing; give a list with the true answer first")
    return {
        "subject": subject,
        "prompt": given(raw, "src"),
        "target_new": given(raw, "alt"),
        "target_neg": answers[0],
        "rephrase_prompt": given(raw, "rephrase"),
        "locality": {
            "neighborhood": {
                "prompt": given(raw, "loc"),
                "ground_truth": given(raw, "loc_ans"),
            }
        },
        "leme_inputs": essays,
    }


def _essay(task: str, other: str, about: str) -> str:
    return f"{task}\n-relationship to {other}\n\n{about}"
