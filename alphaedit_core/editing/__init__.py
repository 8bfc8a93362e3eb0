"""One batch of facts: target values, keys, the closed forms of the editors, the changed weights.

Uses nullspace, inference and model; keeps no history.
"""
