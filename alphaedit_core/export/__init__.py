"""Export of edits: a Hugging Face directory, a script, a report, a model card.

Uses session and evaluation.
"""
