"""A sequence of edits on one model: history, undo, results, and how it lies on the disk.

Uses editing and everything below it.
"""
