"""Eigenvalues of C, thresholds on them, and the projector P on what they leave.

Uses covariance, storage and display.
"""
