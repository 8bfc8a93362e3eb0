"""Views of an edit session for JupyterLab; they hold no numbers of their own."""
