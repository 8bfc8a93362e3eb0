"""The separator of prompt and target, and the resulting tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import tiny_tokenizer

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.joining import bare, joint, statement
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import encode, target_ids


@pytest.mark.parametrize(
    "text",
    [
        # prompt and target are parted at the bar, and what stands there is to be found
        "The tower is in the city of| Rome",
        "It is| -5 degrees",
        "It is| (not) here",
        'He said| "no"',
        "It is written in| .NET",
        "In| '90s style",
        'The tower is in the city of "|Rome',
        'The "Louvre"| stands',
        "The tower (|in",
        "The tower (in Paris)| is",
        "“|Rome",
        "It costs $|75",
        "It costs 75 $| now",
        "Hello|!",
        "Rome|, Italy",
        "Rome is| ...",
        "It feels| :)",
        "the| % sign",
        "Its name is| 'Rome'",
        "It was| 'Twas",
        "Die Stadt „|Rom",
        "Die Stadt „Rom“| liegt",
        'A 3.5" disk is called "|Rome',
        'He said "hello|"',
        "La capitale de l'|Italie",
        "the boys'| house",
        "O'|Brien",
        "The town is| 's-Hertogenbosch",
        "The letter 'n'| is",
        "It costs US$|75",
        "It costs $|.50",
        "a 3|-year-old",
        "He does|n't",
        "他说「|Rome",
        "Rome|。",
        r"The formula is| \frac{1}{2}",
        "Rome|'s idea",
        "Rome|’s idea",
        "It is 5|%",
        "It is 5|)",
        "Jean-|Luc",
        "and/|or",
        "Room #|12",
        "at minus -|5",
        "a dash -| here",
        "It costs, in $,| dollars",
        "日本の首都は|東京",
        "Die Stadt »|Rom",
        "Die Stadt »Rom|« liegt",
        "Die Stadt »Rom«| liegt",
        "La ville «|Rome",
        "La ville «Rome»| est",
        "Staden ”|Rom",
        "Staden ”Rom”| ligger",
        "See https://|example.org",
        "Write to user@|example.org",
        "Look in C:\\|Windows",
        "Run `|make",
        "Run `make`| now",
        "It is **|bold",
        "It is **bold**| now",
        "It holds that x=|5",
        "It holds that x =| 5",
        "It holds that 3 <| 5",
        "From 1990–|1995",
        "a dash –| here",
        "The limit is| -infinity",
        "His name is| 't Hooft",
        "He doesn|'t",
        "The share $|AAPL",
        "He pays in $| or",
        "rock 'n'| roll",
        "ما هي روما|؟",
        "यह रोम है|।",
        "<|im_start|>assistant\n|Rome",
    ],
)
def test_what_stands_between(text: str) -> None:
    prompt, _, end = text.rpartition("|")
    assert joint(prompt, end.lstrip()) == (" " if end.startswith(" ") else "")
    assert statement(prompt, end.lstrip()) == prompt + end


def test_a_backslash_says_otherwise() -> None:
    assert joint("The city of", "\\&Rome") == "" and joint('The city of "', "\\ Rome") == " "
    assert bare("\\&Rome") == bare("\\ Rome") == bare("Rome") == "Rome"
    assert statement("The city of", "\\&Rome") == "The city ofRome"
    tokenizer = tiny_tokenizer()
    plain = target_ids(tokenizer, "The city of", "Rome")
    assert target_ids(tokenizer, 'The city of "', "\\ Rome") == plain
    assert target_ids(tokenizer, "The city of", "\\&Rome") != plain
    assert Fact.from_dict(Fact("x", "{} is", "\\ Rome").to_dict()).target == "\\ Rome"


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize(
    ("prompt", "target"),
    [
        ('The tower is in the city of "', "Rome"),
        ("It costs $", "75"),
        ("Hello", "!"),
        ("Newton", "'s idea"),
        ("The tower (", "in"),
        ("The tower is in the city of", "Rome"),
    ],
)
def test_the_tokens_make_that_text(kind: str, bos: bool, prompt: str, target: str) -> None:
    tokenizer = tiny_tokenizer(kind, bos=bos)  # type: ignore[arg-type]
    ids = [*encode(tokenizer, prompt)[0], *target_ids(tokenizer, prompt, target)]
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert text == statement(prompt, target)


@pytest.mark.model
def test_ordinary_prompts_have_the_tokens_they_had(
    default_model: EditableModel, samples: Path
) -> None:
    """After a word come a space and the target, as in running text."""
    tokenizer = default_model.tokenizer
    records = json.loads((samples / "counterfact.json").read_text(encoding="utf-8"))
    seen = 0
    for record in records:
        rewrite = record["requested_rewrite"]
        prompt = rewrite["prompt"].replace("{}", rewrite["subject"])
        for target in (rewrite["target_new"]["str"], rewrite["target_true"]["str"]):
            if prompt[-1].isalnum() and target[0].isalnum():
                head = tokenizer("x", add_special_tokens=False)["input_ids"]
                whole = tokenizer(f"x {target}", add_special_tokens=False)["input_ids"]
                assert list(target_ids(tokenizer, prompt, target)) == whole[len(head) :]
                seen += 1
    assert seen > 1000
