"""The limit that flags of preparations share. It is apart from them, because they need NumPy."""

MAX_REJECTED = 0.001  # the largest fraction of a dataset's files that may be unusable
