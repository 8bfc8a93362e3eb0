"""Figures, tables and pages: plain numbers and text in, SVG, HTML and text out.

Imports no class of the other packages; uses the standard library, numpy, matplotlib and rich.
"""
