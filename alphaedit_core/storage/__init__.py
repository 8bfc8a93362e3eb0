"""Files: atomic writes, checksums, locks, the cache folder and downloads.

Uses nothing of the project but errors and progress.
"""
