"""Pictures of the wafer: what lies where, where time goes, and how the model compares.

Each is a function from plain results to a matplotlib figure; `save` writes it as SVG and PNG. They
need the extra `pictures`, which nothing else does.
"""

from headrace.wafer.pictures.canvas import Figure, save
from headrace.wafer.pictures.floorplan import floorplan
from headrace.wafer.pictures.measured import measured_against_modelled
from headrace.wafer.pictures.speed import speed_against_cores
from headrace.wafer.pictures.time_split import splits, time_split

__all__ = [
    "Figure",
    "floorplan",
    "measured_against_modelled",
    "save",
    "speed_against_cores",
    "splits",
    "time_split",
]
