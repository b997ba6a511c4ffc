"""What is done otherwise while a command starts: nothing that is imported is garbage."""

import gc


def begin_of_start() -> None:
    """Look for no garbage until `end_of_start`: there is none among modules."""
    gc.disable()


def end_of_start() -> None:
    """From now on look for garbage, but never again among what is here already."""
    gc.freeze()
    gc.enable()
