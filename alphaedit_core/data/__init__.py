"""What is edited and what is asked: facts, records of data sets, and the files they come in.

Uses storage and display; knows no model.
"""
