from .base import Divergence as Divergence
from .f_divergence import FDivergence as FDivergence
from .least_squares import LeastSquares as LeastSquares
from .mmd import MMD as MMD
from .wasserstein import Wasserstein as Wasserstein
