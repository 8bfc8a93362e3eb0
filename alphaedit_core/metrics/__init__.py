"""Metrics of edits, each one short file; see :mod:`.base`."""
