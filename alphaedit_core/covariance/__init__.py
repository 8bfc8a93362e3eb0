"""Key statistics: the second moment C of each edited layer's keys on running text.

Uses corpora, model and storage.
"""
