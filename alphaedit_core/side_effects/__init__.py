"""What edits did to the rest of the model: drift, hidden states, retention, general ability.

Uses session, evaluation and inference.
"""
