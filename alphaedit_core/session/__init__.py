"""A sequence of edits on one model: history, undo, results, and files.

Uses editing and everything below it.
"""
