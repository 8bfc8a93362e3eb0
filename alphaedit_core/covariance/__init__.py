"""C: the second moments of the keys that running text gives each edited layer.

Uses corpora, model and storage.
"""
