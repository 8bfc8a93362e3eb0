"""Sequential experiments: write a data set batch by batch with several editors and measure it.

Uses side_effects, evaluation and session.
"""
