"""zsRE: questions about relations, in MEND's evaluation split."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.records import Probe, Record
from alphaedit_core.data.templates import escaped
from alphaedit_core.errors import InputError

from .base import Dataset
from .fields import Raw, other_than, slotted, text, texts


class ZsRE(Dataset):
    """Reader of zsRE in the split and wording of MEND (Mitchell et al. 2022)."""

    name = "zsre"
    title = "zsRE"
    about = "Questions with a new answer, each with a rephrased and an unrelated question."
    source = "Levy et al. 2017; split and wording of Mitchell et al. 2022 (MEND)"
    license = "set by its authors; unrelated questions from Natural Questions, CC BY-SA 3.0"
    address = "https://memit.baulab.info/data/dsets/zsre_mend_eval.json"
    publisher = "the projects ROME and MEMIT, memit.baulab.info"
    layout = (
        "subject, src: the fact, with {} at the subject's first place in src; rephrase: its "
        'paraphrase; loc, loc_ans: a probe "locality", with a question mark at its end as in '
        "MEMIT. Option target: the fact's target is answers[0], the true answer, as in the runs of "
        "MEMIT and AlphaEdit (true), or alt, a false one, as in EasyEdit's, with answers[0] as the "
        "true target (alt)."
    )
    options: ClassVar = {"target": ("true", "alt")}
    easyedit: ClassVar = {"target": "alt"}

    @override
    def record(self, raw: Raw, name: str) -> Record:
        prompt, subject = slotted(text(raw, "src"), text(raw, "subject"), "src")
        answers = texts(raw, "answers")
        if not answers:
            raise InputError("answers are missing; give a list with the true answer first")
        target = answers[0] if self.chosen["target"] == "true" else text(raw, "alt")
        fact = Fact(
            subject,
            prompt,
            target,
            target_true=next(iter(other_than(answers[:1], [target])), None),
            paraphrases=[escaped(text(raw, "rephrase"))],
        )
        question = text(raw, "loc")
        if not question.endswith("?"):
            question += "?"
        probe = Probe("locality", question, (text(raw, "loc_ans"),))
        return Record(self.name, name, (fact,), (probe,))
