"""Configurations by the name of an editor, out of numbers for all editors at once."""

from __future__ import annotations

from typing import Any

from alphaedit_core.editing.config import EditConfig, own_fields
from alphaedit_core.editing.configs import config_class, make_config


def config_of(
    editor: str = "alphaedit", *, projection: bool = True, previous_keys: bool = True, **fields: Any
) -> EditConfig:
    """An editor's configuration, both switches on; what it has not is left out."""
    switches = {"projection": projection, "previous_keys": previous_keys}
    return make_config(**own_fields(config_class(editor), fields) | switches | {"editor": editor})
