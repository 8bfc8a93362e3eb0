"""How well edits hold: metrics, probes, and one question asked before and after.

Uses session and inference.
"""
