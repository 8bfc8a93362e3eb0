"""The Drift tab: effects of all edits on ordinary text."""
