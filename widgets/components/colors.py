"""The colors of all panels: Okabe and Ito (2008), told apart by all kinds of color vision."""

BEFORE, AFTER, GOOD, NOTE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SERIES = (BEFORE, AFTER, GOOD, NOTE, "#E69F00", "#56B4E9")
"""One after the other for curves; a dash pattern follows where there are more."""
