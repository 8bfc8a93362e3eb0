"""Published data sets: each is a class in a file of this folder, which :mod:`.registry` finds."""
