from .base import Bernoulli as Bernoulli
from .base import Delta as Delta
from .base import Distribution as Distribution
from .base import Implicit as Implicit
from .base import Normal as Normal
from .rng import Draw as Draw
