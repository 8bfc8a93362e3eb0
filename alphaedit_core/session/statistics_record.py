"""Which key statistics a session was made with, as it is kept in its manifest."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from alphaedit_core.covariance.files import KeyStatistics

log = logging.getLogger(__name__)


def statistics_record(
    statistics: KeyStatistics, former: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What tells statistics apart, ready for JSON; warns where a session had other ones before.

    Args:
        statistics: what the session uses from now on.
        former: the record of those it had, None if it had none.
    """
    recipe = statistics.recipe
    made = {
        "recipe": recipe.key(),
        "text": recipe.text_name,
        "text_checksum": recipe.text,
        "tokens": recipe.tokens,
        "checksums": {str(layer): s.checksum for layer, s in statistics.layers.items()},
    }
    if former is not None and _without_recipe(former) != _without_recipe(made):
        log.warning(
            "the statistics of this session were other ones (%s); later edits use new ones",
            former.get("text"),
        )
    return made


def _without_recipe(record: Mapping[str, Any]) -> dict[str, Any]:
    """What tells statistics apart; earlier versions named equal ones by another recipe."""
    return {name: value for name, value in record.items() if name != "recipe"}
