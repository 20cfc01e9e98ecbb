from .base import ComputeConfig as ComputeConfig
from .base import Net as Net
from .base import NetConfig as NetConfig
from .base import sampling_mode as sampling_mode
from .dcgan import DCGANConfig as DCGANConfig
from .mlp import CriticConfig as CriticConfig
from .mlp import GeneratorConfig as GeneratorConfig
from .mlp import MLPConfig as MLPConfig
