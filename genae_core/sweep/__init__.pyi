from .launcher import launch as launch
from .options import LaunchOptions as LaunchOptions
from .optuna_search import search as search
