from .experiment import Experiment as Experiment
from .experiment import check_sampler as check_sampler
from .experiment import resolve as resolve
from .precision import Precision as Precision
from .trial import TrialResult as TrialResult
from .trial import run_trial as run_trial
