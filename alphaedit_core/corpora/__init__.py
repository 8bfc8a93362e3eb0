"""Running text: where it comes from and how it is cut into windows of tokens.

Uses model and storage.
"""
