"""Figures, tables and pages: plain numbers and texts in, SVG, HTML and text out.

Knows no class of the project; uses nothing but the standard library, numpy and matplotlib.
"""
