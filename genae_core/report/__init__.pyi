from .intervals import interval as interval
from .plots import draw_curves as draw_curves
from .summary_run import publish as publish
from .tables import table as table
