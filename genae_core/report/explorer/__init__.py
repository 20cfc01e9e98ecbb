"""The explorer page: one HTML file that shows how a sweep's samples change with the MCMC step."""
