"""One prompt on several machines: the same program, greedily, and where each one's time went.

The machine that serves answers with its own engine. Another one gets an engine of its own for as
long as somebody looks: a process with the same folder and another backend.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

from headrace.backends.base import BLOCK_TOKENS
from headrace.backends.cpu.library import require_native
from headrace.backends.host import read_host
from headrace.clock import Clock
from headrace.config import Config
from headrace.engine import EngineClient
from headrace.engine.build import plan_caches
from headrace.engine.messages import Submit, Tokens
from headrace.errors import (
    ConfigError,
    ContextTooLong,
    InvalidRequest,
    KernelMissing,
    QueueFull,
    UnknownModel,
)
from headrace.gateway.build import engine_of
from headrace.gateway.local import LocalModel
from headrace.types import Message, Request, Role, SamplingParams

CONTEXT_TOKENS = 512  # of prompt and answer
MOST_TOKENS = 64  # of an answer
IDLE_S = 120.0  # how long an engine that nobody uses stays
MOST_SIMULATED = 100_000_000  # parameters: above, NumPy takes seconds for a token of the wafer
MACHINES = ("cpu", "wafer", "cuda", "endpoint")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One of them, and whether it is there."""

    name: str  # of MACHINES
    is_here: bool
    serves: bool = False  # the model's callers, too
    is_simulated: bool = False  # its times are those of the machine that is simulated
    says: str = ""  # what it is; or how to get it


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Tokens that came together."""

    ids: tuple[int, ...]  # (): it does not tell
    texts: tuple[str, ...]
    at_s: float  # after the first token, by the machine's own clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What an answer took. Of a machine that is simulated: what it would have taken."""

    tokens: int
    prompt_s: float | None = None
    token_s: float | None = None  # from the first token on, each; None: there was one only
    phases: tuple[tuple[str, float], ...] = ()  # seconds of a token by kind of phase


@dataclass(slots=True)
class _Held:
    engine: EngineClient
    goes: asyncio.TimerHandle | None = None


class Machines:
    """Of one server. Lives on its event loop."""

    def __init__(
        self,
        models: Mapping[str, LocalModel],
        config: Config,
        clock: Clock,
        *,
        start: Callable[[LocalModel, Config], EngineClient] | None = None,
    ) -> None:
        """`models` by name. `start` makes an engine, to be started, for a model by settings."""
        self.models = models
        self._config = config
        self._clock = clock
        self._start = start or self._engine_of
        self._held: dict[tuple[str, str], _Held] = {}
        self._busy: set[str] = set()
        self._ending: set[asyncio.Task[None]] = set()

    def found_for(self, model: str) -> tuple[Machine, ...]:
        """All of MACHINES. Raises UnknownModel."""
        local = self._model(model)
        look = {
            "cpu": self._cpu,
            "wafer": self._wafer,
            "cuda": self._cuda,
            "endpoint": self._endpoint,
        }
        found = [look[name](local) for name in MACHINES]
        serving = local.card.backend
        return tuple(
            replace(m, is_here=True, serves=True, says=f"serves {model} now")
            if m.name == serving
            else m
            for m in found
        )

    async def run(
        self, model: str, machine: str, text: str, max_tokens: int
    ) -> AsyncGenerator[Piece | Ending, None]:
        """Answer a message with `max_tokens` at most, the likeliest each time.

        Raises UnknownModel; InvalidRequest for a machine that is not here, with how to get it;
        ContextTooLong; QueueFull while it answers somebody else; and what engines raise.
        """
        local = self._model(model)
        found = next((m for m in self.found_for(model) if m.name == machine), None)
        if found is None or not found.is_here:
            known = f"one of {', '.join(MACHINES)}" if found is None else found.says
            raise InvalidRequest(f"machine: {known}", param="machine")
        if machine in self._busy:
            raise QueueFull(f"The {machine} answers somebody else; try again in a moment.")
        self._busy.add(machine)
        try:
            if machine == "endpoint":
                events = self._ask_endpoint(local, text, max_tokens)
            else:
                events = self._decode(local, found, text, max_tokens)
            async with aclosing(events):
                async for event in events:
                    yield event
        finally:
            self._busy.discard(machine)

    async def stop(self) -> None:
        """End the engines that were started here."""
        held, self._held = list(self._held.values()), {}
        for each in held:
            if each.goes is not None:
                each.goes.cancel()
        await asyncio.gather(*(each.engine.stop() for each in held), *self._ending)

    def _engine_of(self, model: LocalModel, config: Config) -> EngineClient:
        return engine_of(model.language_model, config, self._clock)

    def _model(self, name: str) -> LocalModel:
        if name not in self.models:
            raise UnknownModel(name)
        return self.models[name]

    def _cpu(self, _: LocalModel) -> Machine:
        try:
            require_native()
        except KernelMissing as exc:
            return Machine(name="cpu", is_here=False, says=str(exc))
        return Machine(name="cpu", is_here=True, says="our native kernels on this processor")

    def _cuda(self, _: LocalModel) -> Machine:
        if not read_host().gpus:
            says = "This machine has no NVIDIA GPU. On one: pip install 'headrace[cuda]'."
            return Machine(name="cuda", is_here=False, says=says)
        if find_spec("torch") is None or find_spec("triton") is None:
            says = "There is a GPU, but no PyTorch with Triton: pip install 'headrace[cuda]'."
            return Machine(name="cuda", is_here=False, says=says)
        return Machine(name="cuda", is_here=True, says=read_host().gpus[0])

    def _wafer(self, local: LocalModel) -> Machine:
        program, mesh = local.program, self._config.machines.mesh
        if program.num_parameters > MOST_SIMULATED:
            says = (
                f"{program.num_parameters / 1e9:.1f} billion parameters take NumPy too long for a "
                "page; `headrace wafer run` has the time."
            )
            return Machine(name="wafer", is_here=False, is_simulated=True, says=says)
        # Imported by the first who asks: a server starts without it.
        from headrace.backends.wafer.capacity import placed
        from headrace.wafer.machine import machine_named

        try:
            placed(program, machine_named(mesh), CONTEXT_TOKENS // BLOCK_TOKENS)
        except ConfigError as exc:
            says = f"A mesh of {mesh} cannot hold it: {exc}. Another one: 'machines.mesh'."
            return Machine(name="wafer", is_here=False, is_simulated=True, says=says)
        return Machine(
            name="wafer", is_here=True, is_simulated=True, says=f"{mesh} cores, simulated"
        )

    def _endpoint(self, _: LocalModel) -> Machine:
        if not self._config.machines.endpoint:
            says = (
                'None is configured: [machines] endpoint = "https://HOST/v1" in headrace.toml, '
                "with endpoint_model and endpoint_key_file."
            )
            return Machine(name="endpoint", is_here=False, says=says)
        return Machine(name="endpoint", is_here=True, says=self._config.machines.endpoint)

    async def _decode(
        self, local: LocalModel, machine: Machine, text: str, max_tokens: int
    ) -> AsyncGenerator[Piece | Ending, None]:
        asked = Request(
            id=f"machines-{uuid4()}",
            model=local.card.id,
            messages=(Message(role=Role.USER, content=text),),
            sampling=SamplingParams(temperature=0),
        )
        prompt = tuple(await local.prompts.ids(asked))
        most = min(CONTEXT_TOKENS, local.card.context_tokens) - max_tokens
        if len(prompt) > most:
            raise ContextTooLong(len(prompt), most)
        submit = Submit(
            id=asked.id,
            prompt=prompt,
            max_tokens=max_tokens,
            stop_ids=local.language_model.stop_ids,
            temperature=0.0,
            top_k=0,
            top_p=1.0,
            min_p=0.0,
            seed=0,
            tenant="machines",
            is_watched=True,
        )
        engine = local.engine if machine.serves else await self._engine(local, machine.name)
        spell = local.language_model.tokenizer.token_bytes
        count = 0
        async with aclosing(engine.run(submit)) as messages:
            async for message in messages:
                if not isinstance(message, Tokens):
                    continue
                count += len(message.token_ids)
                yield Piece(
                    ids=message.token_ids,
                    texts=tuple(spell(i).decode("utf-8", "replace") for i in message.token_ids),
                    at_s=message.completion_s,
                )
                if message.finish is not None:
                    yield _ending(machine, message, count)

    async def _ask_endpoint(
        self, local: LocalModel, text: str, max_tokens: int
    ) -> AsyncGenerator[Piece | Ending, None]:
        from headrace.gateway.endpoint import stream_endpoint  # a client of HTTP takes a while

        config = self._config.machines
        body = {
            "model": config.endpoint_model or local.card.id,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
        }
        key = await asyncio.to_thread(_key, config.endpoint_key_file)
        url = config.endpoint.rstrip("/")
        first_s = last_s = 0.0
        count = 0
        async with aclosing(stream_endpoint(url, body, key, self._clock)) as pieces:
            async for at_s, said in pieces:
                first_s, last_s = first_s or at_s, at_s
                count += 1
                yield Piece(ids=(), texts=(said,), at_s=at_s - first_s)
        yield Ending(
            tokens=count,
            prompt_s=first_s,
            token_s=(last_s - first_s) / (count - 1) if count > 1 else None,
        )

    async def _engine(self, local: LocalModel, machine: str) -> EngineClient:
        """That of another machine, started if need be; it stays until nobody has used it a while.

        Raises InvalidRequest when there is no memory for it, and what its start raises.
        """
        key = local.card.id, machine
        held = self._held.get(key)
        if held is None:
            config = replace(
                self._config.engine,
                backend=machine,
                mesh=self._config.machines.mesh,
                kv_tokens=CONTEXT_TOKENS,
                context_tokens=min(CONTEXT_TOKENS, local.card.context_tokens),
                max_sequences=1,
                prefix_cache=False,
            )
            try:
                if machine != "cuda":  # whose memory its own process looks at
                    await asyncio.to_thread(plan_caches, {local.card.id: local.program}, config)
                engine = self._start(local, replace(self._config, engine=config))
                await engine.start()
            except (ConfigError, KernelMissing) as exc:
                raise InvalidRequest(f"machine: {exc}", param="machine") from exc
            held = self._held[key] = _Held(engine)
        if held.goes is not None:
            held.goes.cancel()
        held.goes = asyncio.get_running_loop().call_later(IDLE_S, self._let_go, key)
        return held.engine

    def _let_go(self, key: tuple[str, str]) -> None:
        held = self._held.get(key)
        if held is None:
            return
        if key[1] in self._busy:  # a long answer
            held.goes = asyncio.get_running_loop().call_later(IDLE_S, self._let_go, key)
            return
        del self._held[key]
        task = asyncio.get_running_loop().create_task(held.engine.stop())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def _ending(machine: Machine, last: Tokens, count: int) -> Ending:
    if machine.is_simulated:
        # What NumPy took says nothing; a token is the sum of its phases.
        token_s = sum(seconds for _, seconds in last.phases) or None
        return Ending(tokens=count, token_s=token_s, phases=last.phases)
    token_s = last.completion_s / (count - 1) if count > 1 else None
    return Ending(tokens=count, prompt_s=last.prompt_s, token_s=token_s, phases=last.phases)


def _key(file: Path) -> str:
    return file.read_text(encoding="utf-8").strip() if file != Path() else ""
