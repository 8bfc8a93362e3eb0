"""The tab Edit: run an editor, watch the search, read what became of each fact."""
