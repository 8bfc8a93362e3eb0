"""The models that packages carry."""

DEFAULT_MODEL = "smollm2-135m"

#: Their names, and the license each comes under.
PACKAGED = {DEFAULT_MODEL: "Apache-2.0", "gemma3-270m": "Gemma"}
