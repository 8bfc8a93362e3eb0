"""Parts that several tabs use: a panel, inputs, token chips, confirmations, up- and downloads."""
