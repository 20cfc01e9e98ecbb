from .divergence import DivergenceContract as DivergenceContract
from .model import ModelContract as ModelContract
from .prior import PriorContract as PriorContract
from .sampler import SamplerContract as SamplerContract
