"""Whole data sets, batch after batch, by one editor after another, and what that did.

Uses side_effects, evaluation and session.
"""
