"""What an endpoint takes beyond OpenAI's fields: asked once, before anything is measured."""

from dataclasses import replace

from headrace.bench.client import read_answer
from headrace.bench.load import Endpoint, Player
from headrace.bench.scenarios import Extensions
from headrace.bench.scenarios.short import shape

_OK = 200
UNCOUNTED = 1_000_000  # tasks that do not count have numbers from here on


async def probed(endpoint: Endpoint, player: Player, *, is_full_length: bool = False) -> Endpoint:
    """The endpoint, knowing whether it takes usage in each event, and `ignore_eos` if need be.

    Each is a request for one token; whoever answers it with 200 takes the field.
    """
    return replace(
        endpoint,
        extensions=Extensions(
            event_usage=await _is_taken(endpoint, player, Extensions(event_usage=True)),
            ignore_eos=is_full_length
            and await _is_taken(endpoint, player, Extensions(ignore_eos=True)),
        ),
    )


async def _is_taken(endpoint: Endpoint, player: Player, extensions: Extensions) -> bool:
    call = shape("length", player.seed, UNCOUNTED, 1, 1).call
    body = call.body(endpoint.model, player.seed, extensions)
    answer = read_answer(await endpoint.transport.post(body))
    player.budget.add(answer, endpoint.price)
    return answer.status == _OK
