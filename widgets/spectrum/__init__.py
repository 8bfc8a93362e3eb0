"""The tab Spectrum: eigenvalues of C, the threshold, and what it leaves of the facts' keys."""
