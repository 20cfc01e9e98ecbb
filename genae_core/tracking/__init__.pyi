from .delivery import BackgroundSender as BackgroundSender
from .delivery import deliver_all as deliver_all
from .journal import Journal as Journal
from .mlflow_store import StoredRun as StoredRun
from .mlflow_store import Tracker as Tracker
