"""Which launches of a step the kernel that stays does the work of, and what it is given for it."""
# pyright: basic, reportMissingImports=false

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from headrace.backends.cuda import persistent, products
from headrace.backends.cuda.launch import Call, Launch

_RING = 4  # pieces of 32 KiB; three to six measured alike
_SHARED_BYTES = 227 << 10  # a program may have
_OTHER_BYTES = 8 << 10  # of these beside the ring and a row's inputs


class Chains:
    """Puts chains in the place of the launches they do the work of, on a card of `programs`
    multiprocessors."""

    def __init__(self, programs: int, device: str) -> None:
        self._programs = programs
        self._counters = torch.zeros(3 * 16, dtype=torch.int64, device=device)
        self._none = torch.zeros(1, dtype=torch.float32, device=device)

    def chained(self, launches: Sequence[Launch | Call]) -> list[Launch | Call]:
        """The same step with every run of products that fits a chain as one launch."""
        made: list[Launch | Call] = []
        i = 0
        while i < len(launches):
            middle = _middle(launches[i : i + 3])
            j = i + len(middle)
            last = _qkv(launches[j : j + 1], middle)
            if middle or last:
                made.append(self._chain(middle, last[0] if last else None))
                i = j + len(last)
            else:
                made.append(launches[i])
                i += 1
        return made

    def _chain(self, middle: Sequence[Launch], last: Launch | None) -> Launch:
        steps = [*middle, *([last] if last else [])]
        n_rows: int = steps[0].arguments["n_rows"]
        arguments: dict[str, Any] = {
            "counters": self._counters,
            "n_rows": n_rows,
            "HAS_MIDDLE": bool(middle),
            "HAS_QKV": last is not None,
            "GROUP": steps[0].arguments["GROUP"],
            "COLUMNS": 8 if n_rows <= 8 else persistent.MOST_ROWS.value,
            "RING": _RING,
            "FIRST": last is None,  # attention, which follows others, reads more
        }
        arguments |= self._middle(middle, last) | self._last(last, middle)
        inputs = max(arguments[name] for name in ("H", "MIXED", "INNER"))
        return Launch(
            phase="chain" if middle else "first qkv",
            kernel=persistent.chain,
            grid=(self._programs,),
            arguments=arguments | {"SINGLE": n_rows == 1 and _has_room(inputs)},
            warps=persistent.WARPS.value,
            read_bytes=sum(step.read_bytes for step in steps),
        )

    def _middle(self, middle: Sequence[Launch], last: Launch | None) -> dict[str, Any]:
        if not middle:
            assert last is not None
            own = last.arguments
            names = "mixed", "h", "inner", "gamma_middle", "gamma_next"
            nothing: dict[str, Any] = dict.fromkeys(names, self._none)
            nothing |= dict.fromkeys(("w_o", "w_gate", "w_up", "w_down"), _described(own["w"]))
            shape = {"H": own["K"], "MIXED": own["K"], "INNER": own["K"], "GELU": False}
            squares = {"split": own["x"], "squares": own["squares"], "eps_middle": 0.0}
            return nothing | shape | squares | {"PADDED": own["K"] // persistent.TILE.value}
        o, gated, down = (step.arguments for step in middle)
        return {
            "w_o": _described(o["w"]),
            "w_gate": _described(gated["w_gate"]),
            "w_up": _described(gated["w_up"]),
            "w_down": _described(down["w"]),
            "mixed": o["x"],
            "h": o["out"],
            "split": gated["x"],
            "squares": o["next_squares"],
            "inner": down["x"],
            "gamma_middle": o["gamma"],
            "gamma_next": down["gamma"],
            "eps_middle": gated["eps"],
            "H": o["N"],
            "MIXED": o["K"],
            "INNER": gated["N"],
            "GELU": gated["GELU"],
            "PADDED": o["N"] // persistent.TILE.value,
        }

    def _last(self, last: Launch | None, middle: Sequence[Launch]) -> dict[str, Any]:
        own: Mapping[str, Any] = last.arguments if last else {}
        has_bias = own.get("HAS_BIAS", False)
        return {
            "w_qkv": _described(own["w"] if last else middle[0].arguments["w"]),
            "qkv": own.get("out", self._none),
            "qkv_bias": own["bias"] if has_bias else self._none,
            "first_squares": own.get("squares", self._none),
            "eps_next": own.get("eps", 0.0),
            "QKV": own.get("N", persistent.TILE.value),
            "HAS_BIAS": has_bias,
            "FIRST_RUNS": 1 if middle else own["SQUARES"],
        }


def _has_room(inputs: int) -> bool:
    """Whether a row of so many inputs fits beside the ring."""
    pieces: int = persistent.padded_pieces(inputs)
    row = 2 * pieces * persistent.PIECE.value * 2  # high and low parts, bf16
    return row + _RING * persistent.PIECE_BYTES.value + _OTHER_BYTES <= _SHARED_BYTES


def _described(matrix: torch.Tensor) -> TensorDescriptor:
    """A matrix [N, K] for the copy engine: parts of the inputs, outputs, inputs of a part."""
    outputs, inputs = matrix.shape
    part = persistent.PART.value
    return TensorDescriptor(
        base=matrix,
        shape=[inputs // part, outputs, part],
        strides=[part, inputs, 1],
        block_shape=[persistent.WARPS.value, persistent.TILE.value, part],
        layout=persistent.PIECE_LAYOUT.value,
    )


def _fits(launch: Launch | Call, kernel: Any) -> bool:
    if not isinstance(launch, Launch) or launch.kernel is not kernel:
        return False
    own = launch.arguments
    return own["K"] % persistent.PIECE.value == 0 and own["N"] % persistent.TILE.value == 0


def _middle(launches: Sequence[Launch | Call]) -> list[Launch]:
    """o, gate and up, down, if these launches are that and each reads what the one before wrote."""
    kernels = products.linear, products.gated, products.linear
    if len(launches) < 3 or not all(map(_fits, launches, kernels)):
        return []
    middle = [launch for launch in launches if isinstance(launch, Launch)]
    o, gated, down = (launch.arguments for launch in middle)
    fits = (
        all(own["ADDS"] and own["NEXT"] and not own["HAS_BIAS"] for own in (o, down))
        and not (o["SQUARES"] or down["SQUARES"] or gated["HAS_BIAS"])
        and gated["NEXT"]
        and gated["SQUARES"] == o["N"] // persistent.TILE.value
        and o["N"] % persistent.PIECE.value == 0
        and o["out"] is down["out"]
        and o["next_x"] is gated["x"]
        and o["next_x"] is down["next_x"]
        and gated["next_x"] is down["x"]
    )
    return middle if fits else []


def _qkv(launches: Sequence[Launch | Call], middle: Sequence[Launch]) -> list[Launch]:
    """A normed product of what `middle` leaves, or of what stands ready without it."""
    found = [launch for launch in launches if isinstance(launch, Launch)]
    if not found or not _fits(found[0], products.linear):
        return []
    own = found[0].arguments
    plain = own["SQUARES"] > 0 and not own["ADDS"] and not own["NEXT"]
    follows = not middle or (
        middle[-1].arguments["next_x"] is own["x"]
        and own["SQUARES"] == own["K"] // persistent.TILE.value
    )
    return found if plain and follows else []
