"""The tab Drift: what all edits together did to ordinary text."""
