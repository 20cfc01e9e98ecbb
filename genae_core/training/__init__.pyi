from .batches import Batches as Batches
from .batches import to_pixels as to_pixels
from .checkpoint import build_model as build_model
from .checkpoint import load_model as load_model
from .checkpoint import save_model as save_model
from .config import TrainingConfig as TrainingConfig
from .loop import fit as fit
from .stacked import fit_together as fit_together
