"""Parts of the service that are kept for groups of tenants, such as those of a tier. Pure."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True, eq=False)
class Group:
    """Tenants that share a reserved part of the service."""

    reserved: float = 0.0  # part of the whole, below 1, that they have together while they ask
    tenants: int = 0  # that have sequences
    own_weight: float = 0.0  # of these together
    scale: float = 1.0  # what their weights are multiplied by


def rescale(groups: Collection[Group]) -> None:
    """Set the scales so that each group has its reserved part, at least, of all weight together.

    Groups that have it by their own weights keep them. The reserved parts sum to less than 1; what
    a group reserves that is not here is everybody's.
    """
    free = [group for group in groups if group.tenants]
    bound: list[Group] = []
    while True:
        # What is bound takes its part of the whole, the others share the rest by their weights.
        whole = sum(group.own_weight for group in free) / (1 - sum(g.reserved for g in bound))
        below = [group for group in free if group.own_weight < group.reserved * whole]
        if not below:
            break
        bound += below
        free = [group for group in free if group not in below]
    for group in free:
        group.scale = 1.0
    for group in bound:
        group.scale = group.reserved * whole / group.own_weight
