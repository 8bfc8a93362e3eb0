"""The tab Compare: one prompt, before and after, token by token."""
