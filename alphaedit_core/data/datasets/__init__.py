"""Published data sets, read as :class:`~alphaedit_core.data.records.Record`; each a short file.

    records = read_records("zsre_mend_eval.json", "zsre", limit=100, target="alt")

:mod:`.registry` knows them, :mod:`.reading` reads their files, :mod:`.fetching` fetches them.
"""

from __future__ import annotations

from .base import Dataset
from .fetching import cached_dataset, fetch_dataset
from .reading import LeftOut, Records, Source, read_records
from .registry import dataset, datasets, register

__all__ = [
    "Dataset",
    "LeftOut",
    "Records",
    "Source",
    "cached_dataset",
    "dataset",
    "datasets",
    "fetch_dataset",
    "read_records",
    "register",
]
