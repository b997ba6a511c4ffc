"""May it run now? Limits of requests and tokens: reserved before, settled after."""

from headrace.admission.desk import Admission, Desk
from headrace.admission.limiter import Ask, Hold, Limiter
from headrace.admission.limits import Cost, Limits, Standing
from headrace.admission.outputs import Outputs
from headrace.admission.patience import Patience
from headrace.admission.refusals import Refusal, Refusals

__all__ = [
    "Admission",
    "Ask",
    "Cost",
    "Desk",
    "Hold",
    "Limiter",
    "Limits",
    "Outputs",
    "Patience",
    "Refusal",
    "Refusals",
    "Standing",
]
