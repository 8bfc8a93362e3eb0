"""KnowEdit: four collections with nearly the same layout, with portability and locality."""

from __future__ import annotations

from typing import ClassVar

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.records import Record
from alphaedit_core.data.templates import escaped
from alphaedit_core.data.text_fields import checked_text

from .base import Dataset
from .fields import Raw, answers, other_than, questions, slotted, text

_FOLDER = "https://huggingface.co/datasets/zjunlp/KnowEdit/resolve/main/benchmark"
_ASKED = (
    'portability and locality: each question becomes a probe such as "portability/Reasoning", '
    "right with any name in its ground_truth; questions with an empty ground_truth are skipped."
)


class _KnowEdit(Dataset):
    """Base class of the four; a record has ``subject``, ``prompt`` and ``target_new``."""

    source = "Zhang et al. 2024"
    license = "MIT"
    publisher = "the data set zjunlp/KnowEdit on Hugging Face, folder benchmark"
    layout = (
        "subject, prompt, target_new: the fact, with {} at the subject's first place in prompt; "
        "ground_truth, if present: its true target; rephrase_prompt or rephrase, if present: its "
        f"paraphrase. {_ASKED}"
    )

    #: Field names of subject, prompt and target in the published file.
    named: ClassVar[tuple[str, str, str]] = ("subject", "prompt", "target_new")

    def record(self, raw: Raw, name: str) -> Record:
        subject_field, prompt_field, target_field = self.named
        prompt, subject = slotted(text(raw, prompt_field), text(raw, subject_field), prompt_field)
        target = text(raw, target_field)
        fact = Fact(
            subject,
            prompt,
            target,
            target_true=next(iter(other_than(answers(raw, "ground_truth"), [target])), None),
            paraphrases=[
                escaped(checked_text(field, raw[field]))
                for field in ("rephrase_prompt", "rephrase")
                if raw.get(field) not in (None, "")
            ],
        )
        portability, no_answer = questions(raw, "portability")
        locality, none_either = questions(raw, "locality")
        return Record(
            self.name, name, (fact,), (*portability, *locality), (*no_answer, *none_either)
        )


class WikiCounterFact(_KnowEdit):
    """Reader of KnowEdit's WikiData-counterfact (Zhang et al. 2024)."""

    name = "knowedit-wiki-counterfact"
    title = "KnowEdit WikiData-counterfact"
    about = "Counterfactual statements about entities in Wikidata."
    address = f"{_FOLDER}/wiki_counterfact/test_cf.json"


class WikiRecent(_KnowEdit):
    """Reader of KnowEdit's WikiData-recent (Zhang et al. 2024)."""

    name = "knowedit-wiki-recent"
    title = "KnowEdit WikiData-recent"
    about = "Statements added to Wikidata after the models were trained."
    address = f"{_FOLDER}/wiki_recent/recent_test.json"


class KnowEditZsRE(_KnowEdit):
    """Reader of KnowEdit's zsRE (Zhang et al. 2024)."""

    name = "knowedit-zsre"
    title = "KnowEdit zsRE"
    about = "Questions from zsRE with a false answer to write, and questions that follow from it."
    address = f"{_FOLDER}/ZsRE/ZsRE-test-all.json"


class WikiBio(_KnowEdit):
    """Reader of KnowEdit's WikiBio (Zhang et al. 2024)."""

    name = "knowedit-wikibio"
    title = "KnowEdit WikiBio"
    about = "Sentences in biographies that a model made up, to be replaced by true ones."
    license = "MIT; texts from Wikipedia, CC BY-SA 3.0"
    address = f"{_FOLDER}/WikiBio/wikibio-test-all.json"
    layout = (
        "concept, text, labels: subject, prompt and target of the fact, with {} at the subject's "
        f"first place in text. {_ASKED}"
    )
    named = ("concept", "text", "labels")
