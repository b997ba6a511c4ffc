"""How much memory a program takes on a backend, known before anything is allocated."""

import math
from dataclasses import dataclass

from headrace.backends.base import BLOCK_TOKENS
from headrace.model.program import MXFP4_BLOCK, KvSpec, Program, Weight, op_weights

LANES = 16  # outputs per packed block of the cpu backend
VALUE_LANES = 32  # values of a head are padded to a multiple of it there
WAFER_CONTEXTS = 1  # chosen: a block per position, 16 full contexts, is the most that is asked
WORKING_ROWS = 128  # rows whose buffers the cpu backend holds; longer steps run in passes
WORKING_LOGITS = 32  # rows of logits: 16 of the sampler's, as much again for candidates
DEVICE_SPARE_BYTES = 2 << 30  # chosen: a GPU's for buffers, prompts, graphs and the library's own
PROCESS_BYTES = 256 << 20  # chosen: interpreter, tokenizer, connections, prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Bytes of memory. The cache is by the token, the rest by the model."""

    weight_bytes: int
    kv_bytes_per_token: int
    working_bytes: int  # buffers of a step, and the process itself
    most_kv_tokens: int | None = None  # what the machine itself has room for; None: memory decides


def footprint(backend: str, program: Program, *, mesh: str = "64x64") -> Footprint:
    """What `program` takes on the backend of that name; the null backend takes next to nothing.

    `mesh` is what the wafer backend simulates. Raises PlacementError when it cannot hold it.
    """
    weights = {weight for op in program.ops for weight in op_weights(op)}
    match backend:
        case "null":
            return Footprint(weight_bytes=0, kv_bytes_per_token=0, working_bytes=PROCESS_BYTES)
        case "reference":  # float32 throughout, but for MXFP4
            return Footprint(
                weight_bytes=sum(map(_widened_bytes, program.weights().values())),
                kv_bytes_per_token=2 * program.kv_bytes_per_token,
                working_bytes=PROCESS_BYTES + _step_bytes(program),
            )
        case "cuda":  # of the device's memory
            return Footprint(
                weight_bytes=stored_bytes(program),
                kv_bytes_per_token=program.kv_bytes_per_token,
                working_bytes=DEVICE_SPARE_BYTES,
            )
        case "wafer":
            from headrace.backends.wafer.capacity import most_blocks, tile_bytes
            from headrace.wafer.machine import machine_named

            machine = machine_named(mesh)
            blocks = most_blocks(program, machine, WAFER_CONTEXTS * program.max_positions)
            return Footprint(
                weight_bytes=tile_bytes(program, machine, blocks),
                kv_bytes_per_token=program.kv_bytes_per_token,
                working_bytes=PROCESS_BYTES + _step_bytes(program),
                most_kv_tokens=blocks * BLOCK_TOKENS,
            )
        case _:
            return Footprint(
                weight_bytes=sum(map(_packed_bytes, weights)),
                kv_bytes_per_token=sum(map(_padded_kv_bytes, program.kv)),
                working_bytes=PROCESS_BYTES + _step_bytes(program),
            )


def stored_bytes(program: Program) -> int:
    """Of all tensors as a checkpoint in 16 bits, or with MXFP4, has them."""
    tensors = program.weights().values()
    return sum(math.prod(t.shape) * (2 if t.holds == "numbers" else 1) for t in tensors)


def _widened_bytes(tensor: Weight) -> int:
    """Of a whole tensor as float32, or as the bytes it is stored in."""
    return math.prod(tensor.shape) * (4 if tensor.holds == "numbers" else 1)


def _packed_bytes(weight: Weight) -> int:
    """Of a matrix in blocks of 16 outputs and pairs of inputs, or of a vector as float32."""
    if len(weight.shape) == 1:
        return 4 * -(-weight.shape[0] // LANES) * LANES
    if weight.scales is not None:  # a byte for each pair, and one for each scale
        blocks = weight.shape[1] // MXFP4_BLOCK
        return blocks * (MXFP4_BLOCK // 2 + 1) * -(-weight.shape[0] // LANES) * LANES
    return 2 * -(-weight.shape[0] // LANES) * LANES * -(-math.prod(weight.shape[1:]) // 2) * 2


def _padded_kv_bytes(spec: KvSpec) -> int:
    values = -(-spec.head_dim // VALUE_LANES) * VALUE_LANES if spec.value_dim is None else 0
    return 2 * spec.kv_heads * (spec.head_dim + values)


def _step_bytes(program: Program) -> int:
    widths = [program.hidden_size, *program.buffers.values()]
    return 4 * (
        WORKING_ROWS * (sum(widths) + 2 * max(widths)) + WORKING_LOGITS * program.vocab_size
    )
