"""Null spaces of the layers: eigenvalues of C, thresholds on them, and the projector P.

Uses covariance, storage and display.
"""
