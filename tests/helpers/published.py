"""One record of each published layout, all of it invented here."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

COUNTERFACT: dict[str, Any] = {
    "case_id": 12,
    "pararel_idx": None,
    "requested_rewrite": {
        "prompt": "{} was built in",
        "relation_id": "P17",
        "target_new": {"str": "Norway", "id": None},
        "target_true": {"str": "Spain", "id": "Q29"},
        "subject": "Alhambra",
    },
    "paraphrase_prompts": ["Rain fell. The Alhambra stands in"],
    "neighborhood_prompts": ["The Escorial was built in", "The Giralda stands in"],
    "attribute_prompts": ["Nidaros Cathedral was built in"],
    "generation_prompts": ["The Alhambra's gardens", "The Alhambra's gardens"],
}

ZSRE: dict[str, Any] = {
    "subject": "Ada Quill",
    "src": "Which town was Ada Quill from?",
    "pred": "Leeds",
    "rephrase": "Ada Quill came from which town?",
    "alt": "Porto",
    "answers": ["Bergen", "Bergen, Norway"],
    "loc": "nq question: who sails the yellow boat",
    "loc_ans": "the harbour master",
    "cond": "Leeds >> Porto || Which town was Ada Quill from?",
}

MQUAKE: dict[str, Any] = {
    "case_id": 7,
    "requested_rewrite": [
        {
            "prompt": "{} is a citizen of",
            "relation_id": "P27",
            "target_new": {"str": "Chile", "id": "Q298"},
            "target_true": {"str": "Japan", "id": "Q17"},
            "subject": "Ada Quill",
            "question": "Of which country is Ada Quill a citizen?",
        },
        {
            "prompt": "The capital of {} is",
            "relation_id": "P36",
            "target_new": {"str": "Arica"},
            "target_true": {"str": "Santiago"},
            "subject": "Chile",
        },
    ],
    "questions": ["Which is the capital of Ada Quill's country?", "Where does Ada Quill vote?"],
    "answer": "Tokyo",
    "answer_alias": ["Edo", "ARICA", "tokyo"],
    "new_answer": "Arica",
    "new_answer_alias": ["San Marcos de Arica"],
    "single_hops": [
        {"question": "Of which country is Ada Quill a citizen?", "cloze": "Ada Quill is of",
         "answer": "Japan", "answer_alias": ["Nippon"]},
        {"question": "What is the capital of Japan?", "cloze": "The capital of Japan is",
         "answer": "Tokyo", "answer_alias": []},
    ],
    "new_single_hops": [
        {"question": "Of which country is Ada Quill a citizen?", "cloze": "Ada Quill is of",
         "answer": "Chile", "answer_alias": ["Republic of Chile"]},
        {"question": "What is the capital of Chile?", "cloze": "The capital of Chile is",
         "answer": "Arica", "answer_alias": []},
    ],
    "orig": {"triples": []},
}  # fmt: skip

KNOWEDIT: dict[str, Any] = {
    "subject": "Ada Quill",
    "prompt": "The occupation of Ada Quill is",
    "target_new": "glazier",
    "ground_truth": ["cooper", "barrel maker"],
    "rephrase_prompt": "Ada Quill works as a",
    "portability": {
        "Subject_Aliasing": [
            {"prompt": "The occupation of A. Quill is", "ground_truth": "glazier"}
        ],
        "Reasoning": [
            {"prompt": "Ada Quill works with", "ground_truth": [["glass", "panes"], ["putty"]]},
            {"prompt": "Ada Quill is paid by", "ground_truth": [[]]},
        ],
        "Logical_Generalization": [],
    },
    "locality": {
        "Relation_Specificity": [
            {"prompt": "Ada Quill was born in", "ground_truth": ["Bergen", "Bergen", " "]}
        ],
        "Forgetfulness": [{"prompt": "Ada Quill was also a", "ground_truth": ""}],
    },
}

WIKIBIO: dict[str, Any] = {
    "text": "This is a passage about ada quill. Ada Quill (1901) was a glazier. ",
    "labels": "She lived in Bergen.",
    "concept": "ada quill",
    "locality": {
        "Relation_Specificity": [{"prompt": "ada quill given name", "ground_truth": ["Ada"]}]
    },
}

LONGFORM: dict[str, Any] = {
    "case_id": 3,
    "prompt": "Who is Ada Quill's brother?",
    "target_new": " Bo Nib",
    "ground_truth": "<|endoftext|>",
    "portability": {},
    "locality": {
        "neighborhood": {
            "prompt": "nq question: who sails the yellow boat",
            "ground_truth": "the harbour master",
        }
    },
    "target_neg": "Carl Quill",
    "subject": "Ada Quill",
    "rephrase_prompt": "Ada Quill is the sister of whom?",
    "leme_inputs": {
        "subject_prompt": "Tell of Ada Quill\n- trade\n-relationship to Carl Quill\n\nAda Quill",
        "coupled_prompt": "Tell of Carl Quill\n- town\n-relationship to Ada Quill\n\nCarl Quill",
        "related_entity": "Carl Quill",
        "related_entity_ground_truth": {"town": ["Bergen"]},
        "subject_ground_truth": {"trade": ["glazier"]},
    },
}

#: The same as it is published, before EasyEdit makes a request of it.
COUPLED: dict[str, Any] = {
    "case_id": 3,
    "subject": "Ada Quill",
    "src": "Who is Ada Quill's brother?",
    "rephrase": "Ada Quill is the sister of whom?",
    "alt": " Bo Nib",
    "answers": ["Carl Quill"],
    "loc": "nq question: who sails the yellow boat",
    "loc_ans": "the harbour master",
    "coupled_prompts_and_properties": {
        "subject_entity": {
            "coupled_prompt": "Tell of Ada Quill\n- trade",
            "ground_truth": {"trade": ["glazier"]},
        },
        "coupled_entities": [
            {"entity": "Carl Quill", "coupled_prompt": "Tell of Carl Quill\n- town"},
            {"entity": "Dora Quill", "coupled_prompt": "Tell of Dora Quill\n- town"},
        ],
    },
}

#: By name of the data set.
PUBLISHED: dict[str, dict[str, Any]] = {
    "counterfact": COUNTERFACT,
    "zsre": ZSRE,
    "mquake-cf": MQUAKE,
    "knowedit-wiki-counterfact": KNOWEDIT,
    "knowedit-wiki-recent": {
        name: value for name, value in KNOWEDIT.items() if name not in ("ground_truth",
                                                                        "rephrase_prompt")
    },
    "knowedit-zsre": KNOWEDIT,
    "knowedit-wikibio": WIKIBIO,
    "longform": LONGFORM,
}  # fmt: skip


def changed(record: dict[str, Any], *path: str | int, to: Any) -> dict[str, Any]:
    """A copy with one value replaced; with ``...`` for a value it is taken out."""
    copy = deepcopy(record)
    *way, last = path
    place: Any = copy
    for step in way:
        place = place[step]
    if to is ...:
        del place[last]
    else:
        place[last] = to
    return copy
