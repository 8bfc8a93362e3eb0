"""The Edit tab: run an editor, follow the target search, and see each fact's outcome."""
