"""Log-probabilities of targets, completions, text generation, and matching of answers.

Uses model and data.
"""
