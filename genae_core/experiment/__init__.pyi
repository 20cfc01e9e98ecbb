from .experiment import Experiment as Experiment
from .experiment import check_sampler as check_sampler
from .experiment import resolve as resolve
from .experiment import sampler_obstacles as sampler_obstacles
from .hardware import describe_devices as describe_devices
from .precision_flag import Precision as Precision
from .trial import TrialResult as TrialResult
from .trial import run_trial as run_trial
