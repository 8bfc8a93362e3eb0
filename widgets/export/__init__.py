"""The tab Export: scripts, sessions, facts, reports and models."""
