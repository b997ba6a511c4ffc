"""Properties here are about values; how long a shared machine takes over an example is not one."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
