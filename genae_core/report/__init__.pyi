from .formatting import decimals as decimals
from .formatting import format_value as format_value
from .intervals import interval as interval
from .plots import Cloud as Cloud
from .plots import draw_curves as draw_curves
from .plots import scatter as scatter
from .summary_run import publish as publish
from .tables import format_table as format_table
