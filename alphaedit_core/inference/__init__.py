"""What a model says: log-probabilities, completions, generation, and whether a text says something.

Uses model and data.
"""
