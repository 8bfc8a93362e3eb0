"""Facts as tokens: the last token of a subject in any script, and the tokens of targets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from examples import FACTS, small
from hypothesis import assume, given
from hypothesis import strategies as st
from tiny import tiny_model, tiny_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from alphaedit_core.data.facts import Fact
from alphaedit_core.errors import InputError
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.inference.scoring import target_logprobs
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import (
    TokenizedFact,
    TokenRow,
    encode,
    find_subject,
    prepare,
    target_ids,
)
from alphaedit_core.session.session import EditSession

BYTES = tiny_tokenizer("bytes")
PIECES = tiny_tokenizer("pieces")
TOKENIZERS = {
    "bytes": BYTES,
    "bytes, BOS": tiny_tokenizer("bytes", bos=True),
    "bytes, BOS and end": tiny_tokenizer("bytes", bos=True, closing=True),
    "pieces": PIECES,
    "pieces, BOS": tiny_tokenizer("pieces", bos=True),
    "pieces, end": tiny_tokenizer("pieces", closing=True),
}
EIFFEL = Fact("Eiffel Tower", "The {} is located in the city of", "Rome", target_true="Paris")


def words(tokenizer: PreTrainedTokenizerFast, ids: tuple[int, ...] | list[int]) -> list[str]:
    return tokenizer.convert_ids_to_tokens(list(ids))


# ------------------------------------------------------------------------------------ the subject


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize(
    ("prompt", "subject"),
    [
        ("{} is located in", "Eiffel Tower"),
        ("The city of {} is old", "Rome"),
        ("The capital of Italy is {}", "Rome"),
        ("{}", "Rome"),
        ("{}ian mechanics is named after", "Newton"),
        ("The {}'s city is", "Eiffel Tower"),
        ("{}は日本の", "東京"),
        ("首都は{}", "京都"),
        ("I know 🗼{}🗼 is", "🦊👩‍👩‍👧"),
        ("{} is in", "Zürich"),
        ("{} is", "x̣̌y̌"),
        ("{} มี", "กรุงเทพฯ"),
    ],
)
def test_the_text_up_to_the_token_contains_the_subject(
    name: str, prompt: str, subject: str
) -> None:
    tokenizer = TOKENIZERS[name]
    fact = Fact(subject, prompt, "Rome")
    end = fact.subject_span[1]
    row = find_subject(tokenizer, fact.text, end)
    upto = tokenizer.decode(row.ids[: row.subject + 1], skip_special_tokens=True)
    before = tokenizer.decode(row.ids[: row.subject], skip_special_tokens=True)
    assert upto.startswith(fact.text[:end])
    assert not before.startswith(fact.text[:end])


texts = st.text(
    st.sampled_from("Newton isEiffel東京ーのé̌🦊👩‍👧\u200dกุ\n .'"), min_size=1, max_size=12
)


@given(before=texts, subject=texts, after=texts)
def test_the_subjects_last_byte_lies_in_the_token(before: str, subject: str, after: str) -> None:
    """Every character of a byte-level token represents one byte of the text."""
    assume(subject.strip() == subject)
    text = before + subject + after
    row = find_subject(BYTES, text, len(before + subject))
    lengths = [len(word) for word in words(BYTES, row.ids)]
    assert sum(lengths) == len(text.encode())
    stop = len((before + subject).encode())
    assert sum(lengths[: row.subject]) < stop <= sum(lengths[: row.subject + 1])


def test_a_subject_that_merges_with_the_next_word() -> None:
    alone = find_subject(BYTES, "New sits here", len("New"))
    merged = find_subject(BYTES, "Newton sits here", len("New"))
    assert words(BYTES, merged.ids)[merged.subject] == "Newton" and merged.subject == 0
    assert merged.ids[0] not in alone.ids


def test_a_character_of_several_tokens_ends_with_its_last() -> None:
    row = find_subject(BYTES, "A 🦊 B", 3)
    assert words(BYTES, row.ids)[:2] == ["A", "Ġ"] and row.subject == 5
    assert bytes("🦊", "utf-8").hex() == "f09fa68a"  # four bytes, four tokens: 2, 3, 4, 5
    row = find_subject(PIECES, "A 🦊 B", 3)
    assert words(PIECES, row.ids)[row.subject] == "<0x8A>"


def test_the_first_of_two_equal_words_is_the_subject() -> None:
    fact = Fact("Rome", "{} is the Rome of", "Italy")
    row = find_subject(BYTES, fact.text, fact.subject_span[1])
    assert (words(BYTES, row.ids)[row.subject], row.subject) == ("Rome", 0)


def test_a_character_without_a_token() -> None:
    letters = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters)
    with pytest.raises(InputError, match='no token for "abz"; write the subject differently'):
        find_subject(tokenizer, "abz", 3)
    assert find_subject(tokenizer, "abz", 2) == TokenRow((2,), 0)


# --------------------------------------------------------------------------------- special tokens


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_bos_occurs_once_in_every_row_and_never_in_a_target(kind: str) -> None:
    tokenizer = tiny_tokenizer(kind, bos=True, closing=True)  # type: ignore[arg-type]
    model = tiny_model("llama", tokenizer)
    (request,) = prepare(model, [EIFFEL], ["The city", "You know"], last_layer=1)
    special = set(tokenizer.all_special_ids)
    rows = [*request.rows, request.essence]
    assert len(rows) == 4
    for row in rows:
        assert row.ids[0] == tokenizer.bos_token_id
        assert not special & set(row.ids[1:])
    assert request.target_true is not None
    assert not special & {*request.target, *request.target_true}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_closing_tokens_are_removed(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids, offsets = encode(tokenizer, "Rome is old")
    plain = tokenizer("Rome is old", add_special_tokens=False)["input_ids"]
    assert ids == ([tokenizer.bos_token_id] if "BOS" in name else []) + plain
    assert len(offsets) == len(ids) and offsets[-1][1] == len("Rome is old")


# ------------------------------------------------------------------------------------ the targets


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize(
    ("prompt", "target", "between"),
    [
        ("The capital of Italy is", "Rome", " "),
        ("The capital of Italy is", "the city of Rome", " "),
        ("The answer is", "42", " "),
        ("The answer is", "Zürich 🦊", " "),
        ("The capital of Japan is", "東京", ""),
        ("日本の首都は", "東京", ""),
        ("日本の首都は", "Paris", ""),
        ("フランスの首都は「", "パリ", ""),
        ("เมืองหลวงคือ", "กรุงเทพ", ""),
        ("수도는", "서울", " "),
    ],
)
def test_targets_have_the_tokens_of_running_text(
    name: str, prompt: str, target: str, between: str
) -> None:
    tokenizer = TOKENIZERS[name]
    ids = target_ids(tokenizer, prompt, target)
    whole, _ = encode(tokenizer, prompt + between + target)
    front, _ = encode(tokenizer, prompt)
    assert list(ids) == whole[len(front) :]
    assert whole[: len(front)] == front


def test_a_target_without_tokens() -> None:
    letters = Tokenizer(models.BPE({"a": 0, "b": 1, "</s>": 2}, []))
    letters.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters, eos_token="</s>")
    model = tiny_model("llama", tokenizer)
    with pytest.raises(InputError, match='target "zz" has no tokens in this model; choose another'):
        prepare(model, [Fact("a", "{} b", "zz")], [], last_layer=0)


# ------------------------------------------------------------------------------------ whole facts


def test_a_tokenized_fact_has_prompt_contexts_and_essence() -> None:
    model = tiny_model("llama")
    (request,) = prepare(model, [EIFFEL], ["You know", "Italy"], last_layer=1)
    assert request.fact is EIFFEL and request.note == ""
    decode = model.tokenizer.decode
    assert [decode(row.ids) for row in request.rows] == [
        "The Eiffel Tower is located in the city of",
        "You know. The Eiffel Tower is located in the city of",
        "Italy. The Eiffel Tower is located in the city of",
    ]
    ends = [decode(row.ids[: row.subject + 1]) for row in request.rows]
    assert ends == ["The Eiffel Tower", "You know. The Eiffel Tower", "Italy. The Eiffel Tower"]
    assert decode(request.essence.ids) == "Eiffel Tower"
    assert request.essence.subject == len(request.essence.ids) - 1
    assert decode(request.target) == " Rome"
    assert request.target_true is not None and decode(request.target_true) == " Paris"
    (untrue,) = prepare(model, [Fact("Rome", "{} is", "old")], [], last_layer=1)
    assert untrue.target_true is None


def model_with_outlier(bos: bool = False) -> tuple[EditableModel, str]:
    """Return a model in which the embedding of one word is huge, and that word."""
    model = tiny_model("llama", tiny_tokenizer(bos=bos))
    (token,) = model.tokenizer("Rome", add_special_tokens=False)["input_ids"]
    model.model.get_input_embeddings().weight[token] *= 1e4
    return model, "Rome"


CONTEXTS = ("The city", "Because")


def prepared(
    model: EditableModel, subject: str, contexts: tuple[str, ...] = CONTEXTS
) -> TokenizedFact:
    facts = [
        Fact("Italy", "I know that {} is", "old"),
        Fact(subject, "{} is the capital of", "Italy"),
    ]
    return prepare(model, facts, contexts, last_layer=1)[1]


def test_a_context_is_put_before_an_outlier_at_the_start() -> None:
    model, subject = model_with_outlier()
    request = prepared(model, subject)
    assert request.rows[0] == request.rows[1] != request.rows[2]
    assert model.tokenizer.decode(request.rows[0].ids) == "The city. Rome is the capital of"
    assert request.rows[0].subject > 0
    assert f'subject "{subject}" is the first token, whose hidden state is' in request.note
    assert "times the next one's: a context was put before the prompt" in request.note


def test_no_context_is_added_without_an_outlier() -> None:
    model, subject = model_with_outlier()
    ordinary = prepared(tiny_model("llama"), subject)
    assert ordinary.rows[0].subject == 0 and ordinary.note == ""
    assert prepared(model, subject, ()).rows[0].subject == 0  # no context is available
    after_bos = prepared(model_with_outlier(bos=True)[0], subject)
    assert after_bos.rows[0].subject == 1 and after_bos.note == ""
    alone = prepare(model, [Fact(subject, "{}", "Rome")], CONTEXTS, last_layer=1)[0]
    assert alone.rows[0].subject == 0  # no next token to compare with


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_both_padding_sides_give_the_same_tokens(kind: str) -> None:
    facts = [EIFFEL, Fact("Rome", "{} is like", "東京"), Fact("東京", "首都は{}", "Paris")]
    results = []
    for side in ("left", "right"):
        tokenizer = tiny_tokenizer(kind, padding_side=side)  # type: ignore[arg-type]
        model = tiny_model("gpt2", tokenizer)
        model.model.get_input_embeddings().weight *= torch.linspace(1, 90, len(tokenizer))[:, None]
        results.append(prepare(model, facts, CONTEXTS, last_layer=1))
    assert results[0] == results[1]


def test_control_tokens_in_a_fact_are_noted() -> None:
    model = tiny_model("llama", tiny_tokenizer(bos=True))
    token = model.tokenizer.bos_token
    facts = [
        Fact("Rome", f"{token} {{}} is", "old"),
        Fact("Rome", "{} is", f"old {token}", target_true=token),
        Fact("Rome", "{} is < s >", "old"),
    ]
    notes = [one.note for one in prepare(model, facts, [], last_layer=1)]
    end = "read as control tokens and not as text"
    assert notes == [
        f"the prompt contains {token}, {end}",
        f"the target contains {token}, the true target contains {token}, {end}",
        "",
    ]


def test_no_space_after_the_line_break_of_a_chat_template() -> None:
    tokenizer = tiny_model("llama").tokenizer
    assert tokenizer.decode(target_ids(tokenizer, "<|im_start|>assistant\n", "Rome")) == "Rome"
    assert tokenizer.decode(target_ids(tokenizer, "the assistant", "Rome")) == " Rome"


@pytest.mark.parametrize("layout", ["gpt2", "llama"])
def test_a_prompt_longer_than_the_model_reads_is_refused_before_any_work(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(layout)
    room = model.max_length
    assert room is not None
    long = Fact("Rome", "{} " + "is " * room, "Paris")
    session = EditSession(model, hyperparameters=small(tmp_path), contexts=CONTEXTS)
    monkeypatch.setattr(session, "_edit", lambda *_: pytest.fail("work started"))
    with pytest.raises(InputError, match=rf"^fact 2: .* and the model reads {room}; shorten"):
        session.edit([FACTS[0], long])
    for work in (
        lambda: generate_greedy(model, ["Rome", long.text]),
        lambda: prepare(model, [long], (), 0),
        lambda: target_logprobs(model, [(long.text, "Paris")]),
    ):
        with pytest.raises(InputError, match=f"{room}; shorten"):
            work()
    # The prompt fits alone, but not with a context before it.
    words = [n for n in range(room) if len(encode(model.tokenizer, "Rome" + " is" * n)[0]) < room]
    fits = Fact("Rome", "{}" + " is" * (words[-1] - 12), "Paris")
    prepare(model, [fits], (), 0)
    with pytest.raises(InputError, match=r"tokens, \d+ of a context .* or set contexts to 0"):
        prepare(model, [fits], ("The city of Rome is old and " * 6,), 0)
