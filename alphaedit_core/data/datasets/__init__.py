"""Published data sets, one class each; :mod:`.registry` finds the classes in this package."""
