"""Speed and memory of the library, side by side with a plain implementation.

``python -m benchmarks`` runs them; README.md in this folder says what each one measures.
"""
