"""The tab History: every state, and the way back and forth."""
