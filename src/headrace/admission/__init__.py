"""May it run now? Limits of requests and tokens: reserved before, settled after."""

from headrace.admission.desk import Admission, Desk
from headrace.admission.limiter import Ask, Hold, Limiter
from headrace.admission.limits import Limits, Standing
from headrace.admission.outputs import Outputs
from headrace.admission.patience import Patience

__all__ = [
    "Admission",
    "Ask",
    "Desk",
    "Hold",
    "Limiter",
    "Limits",
    "Outputs",
    "Patience",
    "Standing",
]
