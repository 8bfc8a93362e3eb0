"""The models that can be installed as packages."""

DEFAULT_MODEL = "smollm2-135m"

#: Their names and licenses.
PACKAGED = {DEFAULT_MODEL: "Apache-2.0", "gemma3-270m": "Gemma"}
