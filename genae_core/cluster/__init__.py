"""A Ray node on this machine, and what is sent to a cluster with a job."""
