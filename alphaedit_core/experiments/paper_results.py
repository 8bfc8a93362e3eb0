"""Published results for comparison (Fang et al. 2025, Table 1).

All rows are after 2,000 sequential edits in batches of 100. The paper ran ROME on Llama-3 without
its second moment. Its code for PRUNE adds the update twice (:mod:`.editors.prune`).
"""

from __future__ import annotations

from collections.abc import Mapping

EDITS, BATCH = 2000, 100

#: Columns of the table per data set, by the names in :mod:`.metrics`.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "counterfact": ("efficacy", "generalization", "specificity", "fluency", "consistency"),
    "zsre": ("rewrite_acc", "rephrase_acc", "neighborhood_acc"),
}

_ROWS: Mapping[str, Mapping[str, str]] = {
    "Llama-3 8B": {
        "unedited": "7.85 10.58 89.48 635.23 24.14 | 36.99 36.34 31.89",
        "ft": "83.33 67.79 46.63 233.72 8.77 | 30.48 30.22 15.49",
        "mend": "63.24 61.17 45.37 372.16 4.21 | 0.91 1.09 0.53",
        "instructedit": "66.58 64.18 47.14 443.85 7.28 | 1.58 1.36 1.01",
        "rome": "64.40 61.42 49.44 449.06 3.31 | 2.01 1.80 0.69",
        "memit": "65.65 64.65 51.56 437.43 6.58 | 34.62 31.28 18.49",
        "prune": "68.25 64.75 49.82 418.03 5.90 | 24.77 23.87 20.69",
        "rect": "66.05 63.62 61.41 526.62 20.54 | 86.05 80.54 31.67",
        "alphaedit": "98.90 94.22 67.88 622.49 32.40 | 94.47 91.13 32.55",
    },
    "GPT-J 6B": {
        "unedited": "16.22 18.56 83.11 621.81 29.74 | 26.32 25.79 27.42",
        "ft": "92.15 72.38 43.35 297.92 6.65 | 72.37 68.91 19.66",
        "mend": "46.15 46.22 53.90 242.41 3.94 | 0.71 0.71 0.52",
        "instructedit": "50.62 51.73 56.28 245.89 4.21 | 0.92 0.88 0.65",
        "rome": "57.50 54.20 52.05 589.42 3.22 | 56.42 54.65 9.86",
        "memit": "98.55 95.50 63.64 546.28 34.89 | 94.91 90.22 30.39",
        "prune": "86.15 86.85 53.87 427.14 14.78 | 0.15 0.15 0.00",
        "rect": "98.80 86.58 72.22 617.31 41.39 | 96.38 91.21 27.79",
        "alphaedit": "99.75 96.38 75.48 618.50 42.08 | 99.79 96.00 28.29",
    },
    "GPT-2 XL": {
        "unedited": "22.23 24.34 78.53 626.64 31.88 | 22.19 31.30 24.15",
        "ft": "63.55 42.20 57.06 519.35 10.56 | 37.11 33.30 10.36",
        "mend": "50.80 50.80 49.20 407.21 1.01 | 0 0 0",
        "instructedit": "55.32 53.63 53.25 412.57 1.08 | 3.54 4.25 3.23",
        "rome": "54.60 51.18 52.68 366.13 0.72 | 47.50 43.56 14.27",
        "memit": "94.70 85.82 60.50 477.26 22.72 | 79.17 71.44 26.42",
        "prune": "82.05 78.55 53.02 530.47 15.93 | 21.62 19.27 13.19",
        "rect": "92.15 81.15 65.13 480.83 21.05 | 81.02 73.08 24.85",
        "alphaedit": "99.50 93.95 66.39 597.88 39.38 | 94.81 86.11 25.88",
    },
}


def published(model: str, dataset: str) -> dict[str, tuple[float, ...]]:
    """Return the paper's values by method.

    Args:
        model: name of a model preset, such as ``Llama-3 8B``.
        dataset: name of a data set.

    Returns:
        Values in the order of ``COLUMNS[dataset]``; empty if the paper does not list the model or
        the data set.
    """
    if dataset not in COLUMNS:
        return {}
    part = list(COLUMNS).index(dataset)
    rows = _ROWS.get(model, {})
    return {
        method: tuple(float(number) for number in row.split("|")[part].split())
        for method, row in rows.items()
    }
