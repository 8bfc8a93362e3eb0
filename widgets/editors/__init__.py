"""The Editors tab: two editors compared on the same facts."""
