"""One HTML file of a sweep: how its samples change with the steps of the chain."""
