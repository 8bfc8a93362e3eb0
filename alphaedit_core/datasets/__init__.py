"""Readers of published data sets, each one short file."""
