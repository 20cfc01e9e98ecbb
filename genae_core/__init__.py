"""genae_core: generative autoencoders and the encode/decode Markov chain that samples them.

Importable and usable without Ray and without MLflow: those are imported in `launch`, `cluster`
and `tracking` alone.
"""

__version__ = "0.1.0"
