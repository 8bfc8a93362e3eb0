"""The tab Experiment: a whole data set, batch after batch."""
