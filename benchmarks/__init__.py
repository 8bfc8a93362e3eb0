"""Speed and memory of the library, side by side with the plain way to do the same.

``python -m benchmarks`` runs them; README.md in this folder says what each one measures.
"""
