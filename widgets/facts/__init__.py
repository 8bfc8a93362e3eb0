"""The tab Facts: type, paste or load facts, and see what each still needs."""
