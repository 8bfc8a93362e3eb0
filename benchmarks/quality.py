"""How well edits hold: CounterFact's measures before and after sequential edits.

    python -m benchmarks.quality RECORDS.json --text TEXT.txt --edits 200 --set ridge=1

Definitions of the measures: Meng et al. 2022 (ROME), section 3.4. A prompt counts if the mean
negative log-likelihood of the wanted target's tokens is the smaller one: the new target after the
prompt itself (efficacy) and its paraphrases (generalisation), the true one after prompts about
neighbours (specificity). Means over prompts within a record, then over records, times 100.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from alphaedit_core import (
    EditableModel,
    EditSession,
    Fact,
    Monitor,
    default_hyperparameters,
    load_model,
    perplexity,
    read_facts,
    score,
)


def measures(model: EditableModel, facts: Sequence[Fact], text: str | None) -> dict[str, float]:
    """Efficacy, generalisation, specificity, rewrite exact (all x 100) and perplexity."""
    groups: list[tuple[str, int, str, bool]] = []  # measure, fact, prompt, whether new is wanted
    for index, fact in enumerate(facts):
        groups.append(("efficacy", index, fact.text, True))
        groups += [("generalisation", index, prompt, True) for prompt in fact.paraphrases]
        groups += [("specificity", index, prompt, False) for prompt in fact.neighbours]
    new = score(model, [(prompt, facts[i].target) for _, i, prompt, _ in groups])
    true = score(model, [(prompt, facts[i].target_true or "") for _, i, prompt, _ in groups])
    hits: dict[str, dict[int, list[bool]]] = {}
    for (name, index, _, wants_new), a, b in zip(groups, new, true, strict=True):
        hit = a.nll < b.nll if wants_new else b.nll < a.nll
        hits.setdefault(name, {}).setdefault(index, []).append(hit)
    result = {
        name: 100 * sum(sum(h) / len(h) for h in by_fact.values()) / len(by_fact)
        for name, by_fact in hits.items()
    }
    exact = [a.exact for (name, *_), a in zip(groups, new, strict=True) if name == "efficacy"]
    result["exact"] = 100 * sum(exact) / len(exact)
    if text is not None:
        result["perplexity"] = perplexity(model, text)
    return result


def main() -> None:
    """Run the edits and print one JSON object with all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", help="CounterFact records, or a facts file")
    parser.add_argument("--text", help="running text for the perplexity")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--edits", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument(
        "--skip-before", action="store_true", help="no measures of the unedited model"
    )
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    text = Path(arguments.text).read_text() if arguments.text else None
    facts = read_facts(arguments.records, limit=arguments.edits)
    changes = dict(change.split("=", 1) for change in arguments.set)
    hyperparameters = default_hyperparameters(model).replace(**changes)
    session = EditSession(model, hyperparameters=hyperparameters)
    before = None if arguments.skip_before else measures(model, facts, text)
    monitor = Monitor()
    started = time.perf_counter()
    session.edit(facts, arguments.batch_size, monitor)
    seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "edits": len(facts),
                "batch_size": arguments.batch_size,
                "hyperparameters": hyperparameters.to_dict(),
                "before": before,
                "after": measures(model, facts, text),
                "seconds": {"edit": seconds} | monitor.seconds,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
