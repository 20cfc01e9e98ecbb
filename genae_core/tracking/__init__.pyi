from .delivery import Courier as Courier
from .delivery import deliver_all as deliver_all
from .journal import Journal as Journal
from .mlflow_store import Tracker as Tracker
