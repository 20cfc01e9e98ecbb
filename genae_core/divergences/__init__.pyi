from .base import Divergence as Divergence
from .f_divergence import FDivergence as FDivergence
from .least_squares import LeastSquares as LeastSquares
from .mmd import MMD as MMD
from .wasserstein import Wasserstein as Wasserstein
from .wasserstein import has_gradient_penalty as has_gradient_penalty
