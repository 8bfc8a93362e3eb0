"""The tab Probes: paraphrases and neighbors of a fact, before and after."""
