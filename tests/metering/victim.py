"""A process that meters until it is killed: `python -m tests.metering.victim HOME SEED`.

Writes a line for each request whose end its client has seen, after it was settled, as a server does
before it sends the last chunk; and one for each token handed over.
"""

import asyncio
import random
import sys
from pathlib import Path

from headrace.errors import QueueFull
from headrace.metering import Metered
from headrace.types import Usage
from tests.metering.world import DEVELOPER, World


async def main(home: Path, seed: int) -> None:
    rng = random.Random(seed)
    world = World(home, lease_micros=2_000)
    world.pay(10_000_000)
    print("ready", flush=True)

    async def reserve(name: str) -> Metered:
        while True:
            try:
                return await world.meter.reserve(
                    DEVELOPER, "m", name, prompt_tokens=10, most_outputs=[50]
                )
            except QueueFull:  # the disk is slower than we are
                await world.meter.flush()

    async def one(name: str) -> None:
        metered = await reserve(name)
        metered.start(10)
        tokens = rng.randint(1, 50)
        for count in range(1, tokens + 1):
            metered.count(1)
            print("token", name, count, flush=True)
            await asyncio.sleep(0)
        if rng.random() < 0.2:
            metered.release()
            print("cut", name, tokens, flush=True)
            return
        metered.settle(Usage(prompt_tokens=10, completion_tokens=tokens, cached_tokens=3))
        print("end", name, tokens, flush=True)

    serial = 0
    while True:
        names = [f"r{seed}-{serial + i}" for i in range(8)]
        serial += 8
        await asyncio.gather(*(one(name) for name in names))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
