"""What the reports of trials hold, and when they are made."""

# ASHA compares trials when they have done a ninth and a third of their steps.
RUNGS = (1 / 9, 1 / 3)
FAILED = "failed"  # the key under which a trial reports why it failed
CURVE = "curve"  # the key of the FCD on validation at each recorded step of the first chain
