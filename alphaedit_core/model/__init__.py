"""A causal language model made editable: loading, architecture, hooks, tokens, packed batches.

Uses data and storage; knows nothing of what is measured or edited.
"""
