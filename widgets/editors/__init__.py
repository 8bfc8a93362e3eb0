"""The tab Editors: two editors side by side on the same facts."""
