"""Editors: one class per file of this folder, discovered by :mod:`.registry`."""
