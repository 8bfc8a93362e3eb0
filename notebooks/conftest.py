"""How nbval compares the notebooks: printed text and text reprs, word for word.

Pictures and HTML tables show digits of a trained model, which differ from one processor to the
next; what they must say is printed beside them. Progress bars come and go with the cache and the
speed of the machine, so the notebooks are run, and stored, without them.
"""

from __future__ import annotations

import os
from typing import Any

SHOWN = (
    "application/vnd.plotly.v1+json", "image/png", "image/svg+xml", "stderr", "text/html",
)  # fmt: skip


def pytest_collectstart(collector: Any) -> None:
    """Extend what nbval leaves out of the comparison."""
    if hasattr(collector, "skip_compare"):
        os.environ["TQDM_DISABLE"] = "1"  # the kernels inherit it
        collector.skip_compare += SHOWN
