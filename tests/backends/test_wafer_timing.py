"""Cycles of a token: counted by hand on a small mesh, and moving the way they must."""

import pytest

from headrace.backends.wafer.capacity import placed
from headrace.backends.wafer.stages import ProgramStage, stages_of
from headrace.backends.wafer.timing import stage_works, token_cycles, token_works
from headrace.model.program import Program
from headrace.model.registry import build_program
from headrace.wafer.cycles import Cycles, Pace, time_of
from headrace.wafer.kernels import simulated
from headrace.wafer.machine import mesh, whole
from headrace.wafer.rectangle import Rectangle
from headrace.wafer.work import Reduction, Vectors, Work
from tests.tiny_llama import tiny_program

PROGRAM = tiny_program(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=64,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    num_hidden_layers=2,
)


def total(stages: dict[str, Cycles]) -> float:
    return sum(each.total for each in stages.values())


def test_a_layer_counted_by_hand() -> None:
    """On 4 x 4 cores: 2 groups of 2, so 1 + 1 + 1 relays; 3 hops to the last core, 3 back."""
    relay, issue = 20.0, 10.0
    pace = Pace(relay_cycles=relay, issue_cycles=issue, lanes=4)
    layer = stages_of(PROGRAM)[1]
    works = list(stage_works(layer, Rectangle(x=0, y=0, columns=4, rows=4), 8))
    got = time_of(works, columns=4, rows=4, pace=pace)
    # Sums: two norms; q, k, v; scores, maximum, sum, values; output; gate, up; down.
    sums = 2 + 1 + 4 + 1 + 1 + 1
    assert sums == sum(isinstance(work, Reduction) for work in works)
    assert got.hops == sums * 6
    assert got.relays == pytest.approx(sums * 3 * relay)
    # Local sizes: 32 -> 8, 16 -> 4, 64 -> 16, of 8 tokens 2 a row.
    # Vectors: q, k, v 8 each, o 8, gate and up 8 each, down 16; scores 4 x 2, values 2.
    steps = 8 * 3 + 8 + 8 * 2 + 16 + 8 + 2
    assert got.issue == pytest.approx(steps * issue)
    # Elements over four lanes: q 8, k 4, v 4, o 8, gate and up 16, down 8; scores 2, values 8.
    assert got.arithmetic == 8 * 2 + 8 + 8 + 8 * 2 + 8 * 4 * 2 + 16 * 2 + 8 * 1 + 2 * 2
    # With chains from one side only, words follow each other twice: at the root, and at the end.
    # Half the numbers: 1, 1; 8 + 4 + 4; scores 2 x 4, 4, 4; 8; 8; 16 + 16; 8.
    assert got.words == 2 * (1 + 1 + 8 + 4 + 2 + 2 + 4 + 4 + 16 + 4)


MIXTURE = {
    "architectures": ["GptOssForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "num_hidden_layers": 2,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 64,
    "max_position_embeddings": 128,
}
FOUR_BITS = {**MIXTURE, "quantization_config": {"quant_method": "mxfp4"}}
GROUPED = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 64,
    "moe_intermediate_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 1,
    "q_lora_rank": None,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "first_k_dense_replace": 0,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "n_group": 4,
    "topk_group": 2,
    "num_experts_per_tok": 3,
    "vocab_size": 64,
    "max_position_embeddings": 128,
}
MIXTURES = {
    "mixture": build_program(MIXTURE),
    "four bits": build_program(FOUR_BITS),
    "grouped": build_program(GROUPED),
}


def mixture_works(program: Program) -> list[Work]:
    """What a layer does from its router on, on 4 x 4 cores."""
    works = list(stage_works(stages_of(program)[1], Rectangle(x=0, y=0, columns=4, rows=4), 8))
    return works[[work.name for work in works].index("scores of experts") - 2 :]


@pytest.mark.parametrize("is_quantised", [False, True])
def test_a_mixture_counted_by_hand(is_quantised: bool) -> None:
    """As above, and local sizes 32 -> 8, 64 -> 16, 8 scores -> 2.

    Two experts of eight are chosen: a pass over the scores for each; both go through each product.
    """
    relay, issue = 20.0, 10.0
    pace = Pace(relay_cycles=relay, issue_cycles=issue, lanes=4)
    works = mixture_works(MIXTURES["four bits" if is_quantised else "mixture"])
    got = time_of(works, columns=4, rows=4, pace=pace)
    sums = 4  # router; its scores to all; gate and up; down
    assert sums == sum(isinstance(work, Reduction) for work in works)
    # All but the longest: 3 relays, 3 hops to the last core and 3 back, words at the root and the
    # end. The longest, gate and up with 2 x 2 x 16 numbers, 32 words: the last core takes its
    # neighbour's from a relay and a hop on, for 32 cycles, so that the other group's, there after
    # two relays and three hops, wait; then these, then the way back.
    assert got.hops == 3 * 6 + 1 + 3
    assert got.relays == pytest.approx(3 * 3 * relay + 2 * relay)
    # Half the numbers: the router's 2, all 8 scores, down's 8.
    assert got.words == 2 * (1 + 4 + 4) + 3 * 32
    gate, up, down = 2 * 8, 2 * 8, 2 * 16
    twice = 2 if is_quantised else 1  # widened, then multiplied
    assert got.issue == pytest.approx((8 + 2 + twice * (gate + up + down)) * issue)
    assert got.arithmetic == 8 * 1 + 2 * 2 + twice * (gate * 4 + up * 4 + down * 2)


def test_a_choice_among_groups_passes_twice_more_over_the_scores() -> None:
    works = {work.name: work for work in mixture_works(MIXTURES["grouped"])}
    assert works["choice"] == Vectors(name="choice", count=3 + 2, length=8)
    names = list(works)
    assert names.index("down") < names.index("gate_proj") < names.index("down_proj"), "the shared"


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("sides", [(4, 4), (7, 5), (16, 16)])
def test_a_mixture_takes_as_long_by_events(name: str, sides: tuple[int, int]) -> None:
    agree(stages_of(MIXTURES[name])[1], *sides)


@pytest.mark.parametrize("sides", [(4, 4), (7, 5), (16, 16)])
def test_a_layer_takes_as_long_by_events(sides: tuple[int, int]) -> None:
    agree(stages_of(PROGRAM)[1], *sides)


def agree(layer: ProgramStage, columns: int, rows: int) -> None:
    machine = whole(mesh(columns, rows))
    works = list(stage_works(layer, Rectangle(x=0, y=0, columns=columns, rows=rows), 40))
    expected = time_of(works, columns=columns, rows=rows, pace=Pace.of(machine)).total
    got = simulated(machine, columns, rows, works).cycles
    assert got == pytest.approx(expected, rel=0.02)


def test_regions_are_handed_over_to() -> None:
    """A token visits all of them, and what was drawn goes back to where the next one begins."""
    placement = placed(PROGRAM, mesh(16, 16), 1)
    stages = token_works(PROGRAM, placement, 1)
    assert len({stage.rectangle for stage in stages}) == len(stages) == 4
    assert all(len(stage.entry) == 1 for stage in stages)
    assert stages[0].entry[0].words <= 2, "a token's number"
    shared = token_works(PROGRAM, placed(PROGRAM, mesh(1, 2), 1), 1)
    assert sum(len(stage.entry) for stage in shared) == 2, "two cores, two regions, there and back"


def test_a_longer_context_takes_longer_up_to_the_window() -> None:
    placement = placed(PROGRAM, mesh(8, 8), 8)
    times = [total(token_cycles(PROGRAM, placement, n)) for n in (1, 8, 9, 64, 128)]
    assert times[0] == times[1], "a token a row, as before"
    assert times[1] < times[2] < times[3] < times[4]


def test_every_stage_is_counted() -> None:
    placement = placed(PROGRAM, mesh(16, 16), 1)
    stages = token_cycles(PROGRAM, placement, 1)
    assert list(stages) == ["embedding", "layer 0", "layer 1", "head"]
    assert stages["layer 0"].total == pytest.approx(stages["layer 1"].total, rel=0.2)
    assert all(each.total > 0 for each in stages.values())
