from .families import Family as Family
from .families import Parts as Parts
from .recipes import DataOptions as DataOptions
from .recipes import Recipe as Recipe
from .recipes import StudyOptions as StudyOptions
from .recipes import chain_of as chain_of
from .recipes import experiment as experiment
from .recipes import recipe as recipe
