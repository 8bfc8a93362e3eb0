"""Sources of running text: files, Wikipedia, Hugging Face data sets, model samples.

Uses model and storage.
"""
