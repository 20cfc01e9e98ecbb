from .page import build as build

MAX_MB: float
