"""Components shared by several tabs: panel, inputs, token chips, confirmation, file transfer."""
