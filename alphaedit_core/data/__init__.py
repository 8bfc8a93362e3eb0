"""Facts to edit, records of data sets, and their files.

Uses storage and display. Knows no model.
"""
