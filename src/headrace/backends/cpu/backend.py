"""The cpu backend: one native call for a step or several, weights packed, workers persistent.

What is computed: weights are bf16 or fp16, each matrix as it is stored, and the cache is bf16 as
everywhere. The residual stream and every other buffer are float32, and products accumulate in
float32, each output one serial sum over its inputs. The one liberty: what enters a product with a
bf16 matrix is first rounded to bf16 (ties to even), on every instruction set, because that is what
a bf16 dot product takes. An MXFP4 matrix of experts stays at four bits, and is made bf16, exactly,
on the way to that product. An fp16 matrix is widened on the way to the multiplier and its inputs
stay float32. A row's result is the same bits alone or among others, in one chunk or many, with any
number of threads.

The error that follows (`relative_error_bound`): rounding a value to bf16 errs by at most 2^-8 of
it, 0.4 * 2^-8 in the mean square, so a matrix product's outputs are off by that share of their
own rms. R such products lie between token and logits (four per Llama layer and the head); their
roundings are independent and add as sqrt(R). The worst of a row's V logits is some 5 such
deviations out: 2 * 2^-8 * sqrt(R). Attention and gates may amplify what they are given, which no
argument about roundings bounds; a factor of 6 is left for it (random networks with sharp
attention need up to 4.7, unit-gain ones 2). Hence

    |logit - reference| <= 12 * 2^-8 * sqrt(R) * rms(the row's reference logits).

How much attention amplifies is the network's and the prompt's affair, so this is no bound for any
input: of random token ids, which no network was trained on, 1 % of the rows of the bundled model
are beyond it, by NumPy with the same roundings as by the kernels (0.42 at most in 20 prompts of 70
ids, 0.36 by the kernels; bound 0.23), while on text it stays below 0.10. A test compares the two.

Products with fp16 matrices round nothing and are not counted. What is left without bf16 matrices is
the cache: both sides round keys and values, but float32 sums in another order tip some over to the
next bf16, so R is at least two per layer.

Tests hold every instruction set to it, and hold it to NumPy with the same roundings, where only
the order of float32 sums is left.
"""

import math
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from headrace.backends.base import BLOCK_TOKENS, BackendReport, Batch, StepResult, Weights
from headrace.backends.cpu.layout import LANES
from headrace.backends.cpu.library import require_native
from headrace.backends.cpu.packed_cache import PackedCache, WorkerMemory
from headrace.backends.cpu.packing import pack_all, packed_key, quantised_zeros
from headrace.backends.cpu.phases import Declaration, experts_of, runnable
from headrace.backends.cpu.probe import physical_cores
from headrace.backends.phase_times import PhaseTime, phase_names, summed
from headrace.errors import BackendError, ConfigError, KernelMissing
from headrace.model.lowering import Single, lower, operations
from headrace.model.precision import Stored
from headrace.model.program import Embed, Op, Program, op_weights
from headrace.model.weight_part import cut

_BYTES_PER_WORKER = 1 << 20  # chosen: below that a barrier costs more than the worker brings
_MAX_WORKERS = 64  # chosen: barriers are measured up to here
_MATRICES = (np.dtype(np.uint16), np.dtype(np.float16))
_VECTORS = (*_MATRICES, np.dtype(np.float32))
_BYTES = (np.dtype(np.uint8),)


class CpuBackend:
    """A program loaded by the native machine."""

    def __init__(
        self,
        program: Program,
        weights: Weights,
        *,
        num_blocks: int,
        threads: int = 0,
        isa: str | None = None,
        packed: PackedCache | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Pack `weights`, or read them packed from the cache, and start the workers.

        `threads` 0: as many as this process has cores, fewer for a small model. `isa` None: the
        fastest of `cpu_features()`. `progress` hears of (bytes packed, bytes in all). Raises
        KernelMissing without the native library or the instruction set, ConfigError when there
        is not enough memory, and BackendError when a tensor does not have the shape the program
        asks for, or is no 16-bit matrix.
        """
        require_native()
        from headrace.backends.cpu import _native as native

        if (native.BLOCK_TOKENS, native.LANES) != (BLOCK_TOKENS, LANES):
            raise KernelMissing("The native library is of another version: install Headrace again.")
        if isa is not None and isa not in native.available_isas():
            raise KernelMissing(
                f"Instruction set '{isa}' does not run here; choose one of "
                f"{', '.join(native.available_isas())}."
            )
        _check_tensors(program, weights)
        self._program = program
        self._num_blocks = num_blocks
        self._phases = runnable(lower(program), weights)
        self._machine = native.Machine(
            isa=isa or "",
            threads=threads or _suitable_threads(program),
            vocab=program.vocab_size,
            hidden=program.hidden_size,
            max_positions=program.max_positions,
            num_blocks=num_blocks,
        )
        try:
            declaration = Declaration(self._machine, program, weights)
            declaration.declare(self._phases)
        except ValueError as error:
            raise BackendError(f"the program does not fit together: {error}") from error
        except MemoryError as error:
            raise ConfigError(
                f"there is no memory for the weights and a cache of {num_blocks * BLOCK_TOKENS} "
                "tokens: lower 'engine.kv_tokens' or serve a smaller model"
            ) from error
        self._ends = tuple(declaration.ends)
        self._watch = False
        self._watched_steps = 0
        self._watched_before: list[float] = []
        self._packed = tuple(declaration.tensors())
        names = {name for weight, *_ in self._packed for name in (weight.name, weight.scales)}
        self._formats = {name: weights[name].dtype for name in names if name is not None}
        heard = progress or _unheard
        key = packed_key(self._machine, declaration.matrices, weights) if packed else None
        parts = [WorkerMemory(self._machine, worker) for worker in range(self._machine.workers)]
        if packed and key and packed.load(key, parts, heard):
            self._loaded_from = "packed cache"
        else:
            pack_all(self._machine, self._packed, weights, heard)
            kept = packed.save(key, parts) if packed and key else "not kept"
            self._loaded_from = f"checkpoint, packed weights {kept}"
        self._sizes = program.vocab_size, program.hidden_size

    @property
    def program(self) -> Program:
        """The program it was loaded with."""
        return self._program

    @property
    def num_blocks(self) -> int:
        """KV blocks it owns, of `BLOCK_TOKENS` tokens each."""
        return self._num_blocks

    def step(self, batch: Batch) -> StepResult:
        """Run the whole program over the rows of `batch`, sampling included, `batch.steps` times.

        Raises BackendError when a logit is not finite, or, before anything is written, when the
        batch is not valid: ids, positions or blocks out of range, arrays that do not match.
        """
        vocab, hidden_size = self._sizes
        samples = len(batch.sample_rows)
        tokens = np.empty(samples * max(0, batch.steps), np.int32)
        logits = np.empty((samples, vocab), np.float32) if batch.want_logits else None
        layers, hidden = None, None
        if batch.taps:
            layers = np.unique(np.array(batch.taps, np.int32))
            hidden = np.empty((len(layers), len(batch.token_ids), hidden_size), np.float32)
        sampling = batch.sampling
        if self._watch:
            # Prompts are read otherwise: what is told is how long tokens take.
            decodes = len(batch.token_ids) == len(batch.block_tables)
            self._machine.watch_phases(decodes)
            self._watched_steps += batch.steps * decodes
        try:
            finite = self._machine.step(
                batch.token_ids,
                batch.positions,
                batch.row_sequence,
                batch.block_tables,
                batch.sample_rows,
                sampling.temperature,
                sampling.top_k,
                sampling.top_p,
                sampling.min_p,
                sampling.seed,
                sampling.bias_offsets,
                sampling.bias_ids,
                sampling.bias_values,
                sampling.mask_rows,
                sampling.mask_bits,
                sampling.await_masks,
                tokens,
                logits,
                layers,
                hidden,
                vocab,
                hidden_size,
                batch.steps,
            )
        except (TypeError, ValueError) as error:
            raise BackendError(f"the batch is not valid: {error}") from error
        except MemoryError as error:
            raise BackendError("the system had no memory for the cache: free some") from error
        if not finite:
            raise BackendError("the model produced logits that are not numbers")
        if layers is not None and hidden is not None and tuple(layers) != batch.taps:
            hidden = hidden[np.searchsorted(layers, np.array(batch.taps))]
        return StepResult(token_ids=tokens, logits=logits, hidden=hidden)

    def unpack(self, name: str) -> Stored:
        """The tensor `name`, bit for bit as it was packed, read back from its packed form."""
        stored = self._formats[name]
        bits = np.uint8 if stored == np.uint8 else np.uint16
        values = np.zeros(self._program.weights()[name].shape, bits)
        for weight, matrix, source, transposed in self._packed:
            if name not in (weight.name, weight.scales):
                continue
            part = cut(weight, values)
            if weight.scales is not None:
                codes, scales = quantised_zeros(weight)
                self._machine.unpack_mxfp4(matrix, source, codes, scales)
                part[:] = (codes if name == weight.name else scales).reshape(part.shape)
            else:
                found = np.zeros((part.T if transposed else part).shape, np.uint16)
                self._machine.unpack(matrix, source, found)
                part[:] = found.T if transposed else found
        return values.view(stored)

    def report(self) -> BackendReport:
        """What it is and how it runs the program."""
        machine = self._machine
        kinds = Counter(type(p).__name__ for p in self._phases if not isinstance(p, Single))
        alone = Counter(type(p.op).__name__ for p in self._phases if isinstance(p, Single))
        return BackendReport(
            name="cpu",
            device=f"{machine.isa}, {machine.workers} threads",
            weight_bytes=machine.weight_bytes,
            kv_bytes=machine.kv_bytes,
            phases=dict(kinds),
            fallback_ops=dict(alone),
            loaded_from=self._loaded_from,
        )

    def watch_phases(self, on: bool) -> None:
        """Take down from now on how long the phases of decoding steps take, or no more."""
        self._watch = on
        self._machine.watch_phases(on)
        if on:
            self._watched_steps, self._watched_before = 0, self._machine.phase_seconds

    def phase_times(self) -> tuple[PhaseTime, ...]:
        """As worker 0 saw them, each with the barrier behind it."""
        if not self._watched_steps:
            return ()
        now, before = self._machine.phase_seconds, self._watched_before
        spent = [sum(now[i:j]) - sum(before[i:j]) for i, j in pairwise((0, *self._ends))]
        return summed(phase_names(self._phases), spent, self._watched_steps)

    def close(self) -> None:
        """Free memory and threads. May be called twice; no other call may follow."""
        if hasattr(self, "_machine"):
            del self._machine


def relative_error_bound(program: Program, weights: Weights | None = None) -> float:
    """The most a logit may differ from the reference, over the rms of that row; see the module.

    `weights` None: every matrix is bf16.
    """

    def rounds(op: Op) -> bool:
        matrices = (weight for weight in op_weights(op) if len(weight.shape) > 1)
        return not isinstance(op, Embed) and any(
            weights is None or weights[weight.name].dtype != np.float16 for weight in matrices
        )

    phases = lower(program)
    roundings = sum(any(map(rounds, operations(phase))) for phase in phases)
    roundings += 2 * sum(len(experts_of(phase)) for phase in phases)  # router, gate and up, down
    return 12 * 2.0**-8 * math.sqrt(max(roundings, 2 * len(program.kv)))


def _unheard(_: int, __: int) -> None:
    pass


def _suitable_threads(program: Program) -> int:
    enough = max(1, program.bytes_per_token() // _BYTES_PER_WORKER)
    return min(physical_cores(), enough, _MAX_WORKERS)


def _check_tensors(program: Program, weights: Weights) -> None:
    for name, weight in program.weights().items():
        found = weights[name]
        served = _VECTORS if len(weight.shape) == 1 else _MATRICES
        served = served if weight.holds == "numbers" else _BYTES
        if found.shape != weight.shape or found.dtype not in served:
            raise BackendError(
                f"tensor '{name}' is {found.dtype} {found.shape}, the program needs "
                f"{' or '.join(map(str, served))} {weight.shape} (uint16: bf16)"
            )
