"""The colors of all panels: the color-blind-safe palette of Okabe and Ito (2008)."""

BEFORE, AFTER, GOOD, NOTE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SERIES = (BEFORE, AFTER, GOOD, NOTE, "#E69F00", "#56B4E9")
"""Colors of curves, in order; further curves repeat them with a dash pattern."""
