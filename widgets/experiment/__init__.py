"""The Experiment tab: a whole data set, batch by batch."""
