"""CounterFact's metrics before and after sequential edits.

    python -m benchmarks.quality RECORDS.json --text TEXT.txt --edits 200 --set ridge=1

Definitions of the metrics: ``alphaedit_core.evaluation.counterfact_scores``.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

from alphaedit_core import EditSession, Monitor, default_hyperparameters, load_model, read_facts
from alphaedit_core.evaluation.counterfact_scores import counterfact_scores


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
        "--skip-before", action="store_true", help="do not measure the unedited model"
    )
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    text = Path(arguments.text).read_text() if arguments.text else None
    facts = read_facts(arguments.records, limit=arguments.edits)
    changes = dict(change.split("=", 1) for change in arguments.set)
    hyperparameters = default_hyperparameters(model).replace(**changes)
    session = EditSession(model, hyperparameters=hyperparameters)
    before = None if arguments.skip_before else asdict(counterfact_scores(model, facts, text))
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
                "after": asdict(counterfact_scores(model, facts, text)),
                "seconds": {"edit": seconds} | monitor.seconds,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
