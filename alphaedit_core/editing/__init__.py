"""Editing of one batch of facts: target values, keys, closed-form updates, edited weights.

Uses nullspace, inference and model; keeps no history.
"""
