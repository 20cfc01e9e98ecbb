"""A Ray node on this machine, and the files that are sent to a cluster with a job."""
