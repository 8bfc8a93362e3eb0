"""Which words a text begins with or has in it, in every script."""

from __future__ import annotations

import pytest

from alphaedit_core.inference.matching import begins, mentions


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert mentions(" “Ｒome” -- the\nÉternal ", ["rome the éternal", "x"])
    assert mentions("He likes ROME.", ["Rome"]) and not mentions("Romeo", ["Rome"])
    assert mentions("the U.S. team", ["U.S."]) and mentions("A-B", ["a b"])
    assert begins("Rome is", ["Paris", "rome"]) and not begins("In Rome", ["Rome"])
    assert not mentions("anything", ["", "…"]) and not begins("", ["Rome"])
    # Where words are written without spaces they begin and end anywhere.
    assert mentions("首都は東京です", ["東京"]) and begins("東京です", ["東京"])
    assert not begins("首都は東京", ["東京"])


@pytest.mark.parametrize(
    ("text", "answer", "matches"),
    [
        ("It is written in C++.", "C++", True),
        ("It is written in C++.", "C#", False),
        ("It is written in C# and", "C++", False),
        ("It is written in C++.", "C", False),
        ("It is written in C.", "C", True),
        ("a+b is a sum", "a", True),
        ("At noon it was -5 degrees", "-5", True),
        ("At noon it was −5 degrees", "-5", True),  # a minus sign of its own
        ("At noon it was 5 degrees", "-5", False),
        ("At noon it was -5 degrees", "5", False),
        ("From 1990-1995 he", "1990", True),
        ("It costs 5 €", "€", True),
        ("It costs 5 euros", "€", False),
        ("It costs $75 now", "$75", True),
        ("It costs $75 now", "75", True),
        ("It costs 75 now", "$75", False),
        ("Hello!", "!", True),
        ("Hello.", "!", False),
        ("I feel 😀 today", "😀", True),
        ("I feel 😢 today", "😀", False),
        ("Jean-Luc Picard", "Jean", False),
        ("Jean-Luc Picard", "Luc", False),
        ("Jean-Luc Picard", "Jean-Luc", True),
        ("Jean-Luc Picard", "Jean Luc", True),
        ("Jean Dupont", "Jean", True),
        ("a Paris-based firm", "Paris", True),
        ("Rome | Italy", "Rome Italy", True),
        ("Yahoo is", "Yahoo!", True),
        ("Groß is", "gross", True),
        ("Microsoft® Windows is", "Microsoft Windows", True),
        ("I ❤️ it", "❤", True),
        ("It was -5 then", r"\&-5", True),
        ("It is Rome", r"\ Rome", True),
        ("It is 2.5 miles", "5", False),
        ("It is 2.5 miles", "2", False),
        ("It is 2.5 miles", "2.5", True),
        ("Of 1,000 people", "1", False),
        ("Of 1,000 people", "1000", True),
        ("Of 1,234,567.8 people", "1234567.8", True),
        ("one of 1,2,3 is", "2", True),
        ("on 12.05.2020 it", "2020", True),
        ("Of 20 people", "20%", False),
        ("Of 20% of the people", "20%", True),
        ("Of 20 % of the people", "20%", True),
        ("It lost -$5 then", "$5", False),
        ("It lost -$5 then", "-$5", True),
        ("It cost $5 then", "-$5", False),
        ("In C♯ minor", "C", False),
        ("In C♯ minor", "C♯", True),
        ("It runs on .NET today", ".NET", True),
        ("It runs on .NET today", "net", False),
        ("It runs on the net today", ".NET", False),
        ("It ended ...then", "then", True),
        ("It ended.", "ended", True),
        ("It is .5 miles", "5", False),
        ("It is .5 miles", ".5", True),
        ("It fell by -.5 points", "5", False),
        ("About 1/2 of it", "2", False),
        ("About 1/2 of it", "1/2", True),
        ("on 12/05/2020 it", "2020", True),
        ("and 12/05/2020 it", "05", True),
        ("It is 1e-9 m", "9", False),
        ("x=-5 here", "5", False),
        ("x=-5 here", "-5", True),
        ("It was **-5** then", "5", False),
        ("f(x)-5 is", "5", True),
        ("수도는 로마입니다", "로마", True),
        ("로마에서는 그렇다", "로마", True),
        ("로마노 시", "로마", False),
    ],
)
def test_signs_that_make_another_word_count(text: str, answer: str, matches: bool) -> None:
    assert mentions(text, [answer]) is matches
    assert mentions(f"Well, {text}", ["no such thing", answer]) is matches


def test_a_text_begins_with_a_sign() -> None:
    assert begins("-5 degrees", ["-5"]) and not begins("-5 degrees", ["5"])
    assert begins("€ 5", ["€"]) and not begins("5 €", ["€"])
    assert begins("Jean-Luc", ["Jean-Luc"]) and not begins("Jean-Luc", ["Jean"])
