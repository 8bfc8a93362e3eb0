"""Facts: accepted and refused fields, messages, and the place of the subject."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from alphaedit_core.data.facts import Fact, check_facts, facts_table_html, replaced
from alphaedit_core.data.templates import completed, escaped, filled, pieces
from alphaedit_core.errors import InputError

EIFFEL = Fact(
    "Eiffel Tower",
    "{} is located in the city of",
    "Rome",
    target_true="Paris",
    paraphrases=["Visitors of the {} go to", "To see the Eiffel Tower, go to"],
    neighbors=["The Louvre is located in the city of"],
)

SCRIPTS = {
    "Chinese": ("埃菲尔铁塔", "{}位于", "罗马"),
    "Arabic": ("برج إيفل", "يقع {} في مدينة", "روما"),
    "emoji": ("👩‍🔬 lab 🧪", "The {} is in", "🇮🇹"),
    "combining": ("Ngu\N{COMBINING BREVE}ye\N{COMBINING DOT BELOW}n", "{} lives in", "Huế"),
    "Hindi": ("ताज महल", "{} यहाँ है:", "तुर्की"),
    "braces": ("{0} {name} }{", "The token {} { is", "}"),
}


def refusal(*args: object, **fields: object) -> str:
    """Return the error for a fact, and check that it is one line."""
    with pytest.raises(InputError) as caught:
        Fact(*args, **fields)  # type: ignore[arg-type]
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 300
    message.encode("utf-8")
    return message


def test_fields_by_position_and_name() -> None:
    assert EIFFEL.text == "Eiffel Tower is located in the city of"
    assert EIFFEL.paraphrases == (
        "Visitors of the Eiffel Tower go to",
        "To see the Eiffel Tower, go to",
    )
    assert EIFFEL.neighbors == ("The Louvre is located in the city of",)
    assert hash(EIFFEL) == hash(Fact.from_dict(EIFFEL.to_dict()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        EIFFEL.target = "Oslo"  # type: ignore[misc]


def test_white_space_around_texts_goes() -> None:
    padded = Fact(" Eiffel Tower\n", "  {} is in ", "\tRome ", paraphrases=[" {} is in "])
    assert (padded.subject, padded.prompt, padded.target) == ("Eiffel Tower", "{} is in", "Rome")
    assert padded.paraphrases == ("Eiffel Tower is in",)


@pytest.mark.parametrize("script", SCRIPTS)
def test_subject_span_in_any_script(script: str) -> None:
    fact = Fact(*SCRIPTS[script])
    start, end = fact.subject_span
    assert fact.text[start:end] == fact.subject == unicodedata.normalize("NFC", SCRIPTS[script][0])
    before, after = fact.prompt.split("{}")
    assert fact.text == before + fact.subject + after
    assert Fact.from_dict(json.loads(json.dumps(fact.to_dict()))) == fact


@given(st.text(min_size=1), st.text(), st.text(), st.text(min_size=1))
def test_any_text_that_is_accepted_comes_back(
    subject: str, before: str, after: str, target: str
) -> None:
    try:
        fact = Fact(subject, f"{before}{{}}{after}", target, paraphrases=[f"{before}{{}}"])
    except InputError:
        assume(False)
        return
    start, end = fact.subject_span
    assert fact.text[start:end] == fact.subject
    assert Fact.from_dict(fact.to_dict()) == fact
    assert Fact(fact.subject, fact.prompt, fact.target).id == fact.id
    assert check_facts([fact, fact]) == [fact]


def test_composed_and_decomposed_text_are_one_fact() -> None:
    composed = Fact("Beyonc\N{LATIN SMALL LETTER E WITH ACUTE}", "{} sings in", "Welsh")
    decomposed = Fact("Beyonce\N{COMBINING ACUTE ACCENT}", "{} sings in", "Welsh")
    assert composed == decomposed
    assert composed.id == decomposed.id


def test_slot_folds_composition_and_space_and_nothing_else() -> None:
    slot = Fact("Eiffel Tower", "The {} is in", "Rome").slot
    assert Fact("Eiffel  Tower", "The {}\nis in ", "Oslo").slot == slot
    assert Fact("e\u0301", "{} is", "x").slot == Fact("\xe9", "{} is", "x").slot
    for one, other in (("CO", "Co"), ("March", "march"), ("Straße", "Strasse"), ("ﬁn", "fin")):
        assert Fact(one, "{} is", "x").slot != Fact(other, "{} is", "x").slot
    assert Fact("Eiffel Tower", "the {} is in", "Rome").slot != slot
    assert Fact("EiffelTower", "The {} is in", "Rome").slot != slot
    assert Fact("Eiffel Tower", "The {} was in", "Rome").slot != slot


def test_id_is_made_from_the_content() -> None:
    # FactBatch out, because sessions on disk hold these: a change of the rule would orphan them.
    assert Fact("Eiffel Tower", "{} is located in the city of", "Rome").id == "448092dd759b"
    assert EIFFEL.id == "448092dd759b"
    assert "id" not in EIFFEL.to_dict()
    assert EIFFEL.changed(target="Oslo").id != EIFFEL.id
    named = EIFFEL.changed(id="tower")
    assert named.changed(target="Oslo").id == "tower"
    assert Fact.from_dict(named.to_dict()) == named


def test_a_paraphrase_may_hold_the_subject_with_its_own_braces() -> None:
    fact = Fact("set {}", "{} is", "empty", paraphrases=["In maths, set {} is", "A {} is"])
    assert fact.text == "set {} is"
    assert fact.paraphrases[0] == "In maths, set {} is"
    assert Fact.from_dict(fact.to_dict()).paraphrases == fact.paraphrases


def test_prompt_without_a_place_for_the_subject() -> None:
    assert refusal("France", "The capital of France is", "Rome") == (
        'prompt "The capital of France is" has no {} for the subject; write {} in place of '
        '"France" in the prompt'
    )
    assert "write {} in place of the subject" in refusal("Spain", "The capital is", "Rome")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prompt": "{} and {} are"}, ['prompt "{} and {} are"', "2 {}", "keep one"]),
        ({"prompt": "The {0} is"}, ["has no {}"]),
        ({"prompt": None}, ["prompt null is not a text", "give a text"]),
        ({"subject": ""}, ['subject "" is blank', "give a text"]),
        ({"subject": " \n"}, ["subject", "is blank"]),
        ({"subject": "\u200b\u200e"}, ["subject", "is blank"]),
        ({"subject": None}, ["subject null is not a text"]),
        ({"subject": ["Eiffel"]}, ['subject ["Eiffel"] is not a text']),
        ({"target": "  "}, ["target", "is blank"]),
        ({"target": None}, ["target null is not a text"]),
        ({"target": 1889}, ["target 1889 is not a text", 'write "1889"']),
        ({"target": True}, ["target true is not a text", 'write "true"']),
        ({"target": "half \ud83d"}, ["target", "half a surrogate pair"]),
        ({"target_true": 5}, ["target_true 5 is not a text"]),
        ({"target_true": ""}, ["target_true", "is blank"]),
        ({"relation": ["P1"]}, ["relation", "is not a text"]),
        ({"id": None}, ["id null is not a text"]),
        ({"paraphrases": "{} is in"}, ['"{} is in" is one text', 'give a list: ["{} is in"]']),
        ({"paraphrases": 3}, ["paraphrases 3 is a number", "give a list"]),
        ({"paraphrases": {"a": 1}}, ["paraphrases", "give a list"]),
        ({"paraphrases": ["{} is in", None]}, ["paraphrase 2: null is not a text"]),
        ({"paraphrases": ["{} is in", " "]}, ["paraphrase 2:", "is blank"]),
        ({"neighbors": [3]}, ["neighbor 1: 3 is not a text"]),
        ({"neighbors": ["The Louvre is in", "{} is in"]}, ["neighbor 2:", "write that subject"]),
    ],
)
def test_refused_fields(fields: dict[str, object], expected: list[str]) -> None:
    valid = {"subject": "Eiffel Tower", "prompt": "{} is in", "target": "Rome"}
    message = refusal(**(valid | fields))
    for part in expected:
        assert part in message


def test_long_and_broken_values_are_shortened_in_messages() -> None:
    message = refusal("x", "word\n" * 500, "Rome")
    assert "…" in message
    assert len(message) < 200


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (None, "null is null; a fact is an object"),
        (["a"], "is a list; a fact is an object"),
        ({}, 'field "subject" is missing'),
        ({"subject": "a", "prompt": "{} is"}, 'field "target" is missing'),
        (
            {"subject": "a", "prompt": "{} is", "target": "b", "tags": 1},
            'field "tags" is not known; remove it, or use one of subject, prompt, target',
        ),
    ],
)
def test_refused_records(record: object, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        Fact.from_dict(record)  # type: ignore[arg-type]
    assert expected in str(caught.value)


def test_facts_that_contradict_each_other() -> None:
    facts = [
        Fact("Louvre", "The {} is in", "Oslo"),
        Fact("Eiffel Tower", "The {} is in", "Rome"),
        Fact("Eiffel  Tower", "The {}  is in", "Oslo"),
    ]
    with pytest.raises(InputError) as caught:
        check_facts(facts)
    message = str(caught.value)
    assert message.startswith("fact 2 and fact 3: ")
    assert '"Rome"' in message
    assert '"Oslo"' in message
    assert "keep one of them" in message
    assert check_facts(facts[:2]) == facts[:2]


def test_the_first_of_equal_facts_is_kept() -> None:
    first = Fact("Louvre", "The {} is in", "Oslo", paraphrases=["Find the {} in"])
    facts = [first, EIFFEL, Fact(" Louvre", "The {}  is in", "Oslo")]
    assert check_facts(facts) == [first, EIFFEL]


def test_two_facts_with_one_id() -> None:
    facts = [
        Fact("a", "{} is", "b", id="n"),
        Fact("a", "{} is", "b", id="n"),
        Fact("c", "{} is", "d", id="n"),
    ]
    with pytest.raises(InputError, match=r'fact 1 and fact 3: both have the id "n"'):
        check_facts(facts)
    assert check_facts(facts[:2]) == facts[:1]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ([], "the list of facts is empty"),
        ({"a": EIFFEL}, "the facts are an object; give a list"),
        (EIFFEL, "give a list of facts"),
        (None, "the facts are null; give a list"),
        ("facts.json", "the facts are a text; give a list"),
        ([EIFFEL, {"subject": "a"}], 'fact 2: {"subject": "a"} is an object; make it a Fact(...)'),
    ],
)
def test_what_is_no_list_of_facts(facts: object, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        check_facts(facts)  # type: ignore[arg-type]
    assert expected in str(caught.value)


def test_repr_names_what_matters() -> None:
    assert repr(EIFFEL) == (
        "Fact('Eiffel Tower', '{} is located in the city of', 'Rome', target_true='Paris', "
        "2 paraphrases, 1 neighbor)"
    )
    bare = Fact("a", "{} is", "b")
    assert eval(repr(bare)) == bare
    assert len(repr(Fact("a" * 900, "b" * 900 + "{}", "c" * 900))) < 250


def test_html_escapes_every_text() -> None:
    markup = "<script>&\"'"
    fact = Fact(
        f"s{markup}",
        f"p{markup}{{}}",
        f"t{markup}",
        target_true=f"u{markup}",
        paraphrases=[f"q{markup}"],
        neighbors=[f"n{markup}"],
        relation=f"r{markup}",
        id=f"i{markup}",
    )
    escaped = "&lt;script&gt;&amp;&quot;&#x27;"
    page = fact._repr_html_()
    for letter in "sptuqnri":
        assert letter + escaped in page
    assert f"<strong>s{escaped}</strong>" in page
    table = facts_table_html([fact, EIFFEL])
    assert table.count("<tr>") == 3
    assert "<script" not in page + table
    assert f"t{escaped}" in table


def test_facts_are_read_without_torch() -> None:
    code = (
        "import sys, alphaedit_core.data.fact_files; "
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# -- what is the same thing ------------------------------------------------------------------------

BORN = Fact("Ada", "{} was born in", "Rome", relation="P19", replaces="relation")
HOME = Fact("Ada", "The birthplace of {} is", "Oslo", relation="P19")
SPEAKS = Fact("Ada", "{} speaks", "French", relation="P1412")
ALSO = Fact("Ada", "A language of {} is", "Welsh", relation="P1412")


def test_names_that_differ_in_capitals_are_edited_together() -> None:
    months = [
        Fact(name, "{} is a kind of", to) for name, to in (("March", "cat"), ("march", "dog"))
    ]
    gases = [Fact(name, "{} is a gas", "now") for name in ("CO", "Co")]
    assert check_facts([*months, *gases]) == [*months, *gases]


def test_targets_that_differ_in_capitals_contradict() -> None:
    with pytest.raises(InputError, match='targets "Turkey" and "turkey"'):
        check_facts([Fact("x", "{} is", to) for to in ("Turkey", "turkey")])


def test_a_relation_with_one_value_is_not_given_two() -> None:
    for pair in ([BORN, HOME], [HOME, BORN]):
        with pytest.raises(InputError) as caught:
            check_facts(pair)
        expected = str(caught.value)
        assert 'fact 1 and fact 2: both are about "P19" of "Ada"' in expected
        assert "single value" in expected and '"Rome"' in expected and '"Oslo"' in expected
    assert check_facts([SPEAKS, ALSO]) == [SPEAKS, ALSO]
    worded = HOME.changed(target="Rome")
    assert check_facts([BORN, worded]) == [BORN, worded]


def test_what_a_fact_replaces() -> None:
    assert replaced(HOME, BORN) and not replaced(BORN, HOME)
    assert not replaced(HOME.changed(target="Rome"), BORN), "another wording of the same"
    assert not replaced(SPEAKS, ALSO)
    again = BORN.changed(target="Oslo")
    assert replaced(BORN, again.changed(replaces="prompt"))
    assert not replaced(BORN, again.changed(replaces="nothing"))
    assert not replaced(BORN.changed(subject="ADA"), again)
    assert not replaced(HOME.changed(subject="ADA"), BORN)


def test_replaces_is_kept_and_checked() -> None:
    assert Fact.from_dict(BORN.to_dict()) == BORN and BORN.to_dict()["replaces"] == "relation"
    assert "replaces" not in HOME.to_dict()
    assert BORN.id == BORN.changed(replaces="nothing").id
    assert "give one of prompt, relation, nothing" in refusal("a", "{}", "b", replaces="all")
    assert "needs a relation" in refusal("a", "{}", "b", replaces="relation")


# -- braces ----------------------------------------------------------------------------------------


def test_a_literal_pair_of_braces() -> None:
    also = {"paraphrases": ["{{}} is {}", "{{{}}}"], "neighbors": ["{{}} is"]}
    fact = Fact("dict", "In {{}} a {} is", "empty", **also)  # type: ignore[arg-type]
    assert fact.text == "In {} a dict is"
    assert fact.text[slice(*fact.subject_span)] == "dict"
    assert fact.paraphrases == ("{} is dict", "{{}}") and fact.neighbors == ("{} is",)
    assert Fact.from_dict(json.loads(json.dumps(fact.to_dict()))) == fact
    assert fact.changed(target="full").paraphrases == fact.paraphrases
    assert Fact("x", "\\emph{{}} is", "y").text == "\\emph{x} is", "as it always was"
    assert "{{}} for a literal {}" in refusal("a", "{} and {} are", "b")
    assert "{{}} is a literal {}" in refusal("a", "{{}} and {{}} are", "b")
    assert "{{}} for a literal {}" in refusal("a", "{} is", "b", neighbors=["{} is"])


@given(st.text("{}a"), st.text("{}ab"), st.text("{}b"), st.text("{}a", min_size=1))
def test_any_text_can_be_written_as_a_template(
    before: str, after: str, other: str, subject: str
) -> None:
    assert completed(escaped(other), subject) == other
    template = escaped(before) + "{}" + escaped(after)
    assume(len(pieces(template)) == 2)
    assert filled(template, subject) == before + subject + after
    texts = ["p" + escaped(other)]
    fact = Fact("S", "{} is", "t", paraphrases=texts, neighbors=texts)
    assert fact.paraphrases == fact.neighbors == ("p" + other,)
    assert Fact.from_dict(fact.to_dict()) == fact


# -- what is left out ------------------------------------------------------------------------------


def test_null_is_a_field_left_out() -> None:
    record = {"subject": "a", "prompt": "{} is", "target": "b"}
    names = ("target_true", "paraphrases", "neighbors", "relation", "id", "replaces")
    optional = dict.fromkeys(names)
    assert Fact.from_dict(record | optional) == Fact(**record)
    assert Fact(**record, paraphrases=None).paraphrases == ()  # type: ignore[arg-type]
    assert "target null is not a text" in refusal("a", "{} is", None)


def test_an_empty_cell_is_not_the_text_nan() -> None:
    for fields in ({"target": float("nan")}, {"target": "x", "target_true": float("nan")}):
        expected = refusal("a", "{} is", **fields)
        assert (
            "NaN is not a text; it is an empty cell" in expected and 'write "NaN"' not in expected
        )
    assert "null for none" in refusal("a", "{} is", "b", paraphrases=float("nan"))


def test_a_true_target_that_is_the_target_is_refused_and_an_old_one_read() -> None:
    expected = refusal("a", "{} is", "New  York", target_true="New York")
    assert (
        'target_true "New York" is the target too' in expected
        and "leave target_true out" in expected
    )
    assert Fact("a", "{} is", "march", target_true="March").target_true == "March"
    with pytest.raises(InputError, match="is the target too"):
        Fact("a", "{} is", r"\ Paris", target_true="Paris")
    joined = Fact("a", "{} is", r"\&s", target_true="s")  # another text
    assert joined.target_true == "s"
    assert len(check_facts([Fact("a", "{} is", "b"), Fact("a", "{} is", r"\ b")])) == 1
    with pytest.raises(InputError, match="both are about"):
        check_facts([Fact("a", "{} is", "b"), Fact("a", "{} is", r"\&b")])
    record = {"subject": "a", "prompt": "{} is", "target": "b"}
    assert Fact.stored(record | {"target_true": "b"}) == Fact(**record)
    for blank in ("", 3):
        with pytest.raises(InputError):
            Fact.stored(record | {"target_true": blank})
    assert Fact.stored(record | {"target_true": "c"}).target_true == "c"


@pytest.mark.parametrize(
    ("end", "kept"),
    [
        ("<|im_start|>assistant\n", "\n"),
        ("<|end_header_id|>\n\n", "\n\n"),
        ("<start_of_turn>model\n  ", "\n"),
        ("<|im_start|>assistant ", ""),
        ("<b>bold</b> is\n", ""),
        ("<|im_end|>\nis\n", ""),
        ("is\n", ""),
    ],
)
def test_the_line_break_that_ends_a_chat_template_stays(end: str, kept: str) -> None:
    bare = end.rstrip()
    fact = Fact("a\n", f" {{}} {end}", "b\n", paraphrases=[f"x {end}"], neighbors=[f"y {end}"])
    assert fact.text == f"a {bare}{kept}"
    assert fact.paraphrases == (f"x {bare}{kept}",) and fact.neighbors == (f"y {bare}{kept}",)
    assert fact.target == "b" and Fact.from_dict(fact.to_dict()) == fact
    assert fact.slot == Fact("a", f"{{}} {bare}", "b").slot


def test_a_field_under_its_former_name() -> None:
    """Files of version 0.1 have "neighbours"; a record cannot have both names."""
    record = {"subject": "Rome", "prompt": "{} is in", "target": "Spain"}
    fact = Fact.from_dict(record | {"neighbours": ["Oslo is in"]})
    assert fact == Fact.from_dict(record | {"neighbors": ["Oslo is in"]})
    assert fact.to_dict()["neighbors"] == ["Oslo is in"]
    with pytest.raises(InputError, match='"neighbors" and "neighbours" are both given'):
        Fact.from_dict(record | {"neighbours": [], "neighbors": []})
