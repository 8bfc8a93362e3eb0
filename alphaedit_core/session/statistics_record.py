"""The record of a session's key statistics in its manifest."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from alphaedit_core.covariance.files import KeyStatistics

log = logging.getLogger(__name__)


def statistics_record(
    statistics: KeyStatistics, former: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what identifies key statistics, and warn if they differ from earlier ones.

    Args:
        statistics: statistics that the session uses from now on.
        former: record of the statistics that the session used so far; None without any.

    Returns:
        A JSON-serializable record.
    """
    spec = statistics.spec
    record = {
        "recipe": spec.key(),
        "text": spec.text_name,
        "text_checksum": spec.text,
        "tokens": spec.tokens,
        "checksums": {str(layer): s.checksum for layer, s in statistics.layers.items()},
    }
    if former is not None and _without_spec(former) != _without_spec(record):
        log.warning(
            "this session used other statistics so far (%s); later edits use the new ones",
            former.get("text"),
        )
    return record


def _without_spec(record: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the specification, which differs between versions for equal statistics."""
    return {name: value for name, value in record.items() if name != "recipe"}
