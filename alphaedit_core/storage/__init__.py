"""Files: atomic writes, checksums, locks, the cache folder and downloads.

Uses only errors, messages and progress of the project.
"""
