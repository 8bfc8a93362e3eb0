"""The History tab: all states, with undo and redo."""
