"""Write tests/golden/: tiny model folders and what transformers computes from them.

    python -m venv golden && golden/bin/pip install torch==2.13.0 transformers==5.23.0
    golden/bin/python tools/make_golden.py [case ...]

Each case is a folder of tests/golden/ with a `case.json` of your making: `why` it is there, the
`family` (transformers calls its configuration `<family>Config`, or `config_class`), the `sizes`
that configuration gets, and if wanted `dtype` (of the weights, "float16"), `sharded` (two weight
files), `old_rope` (rotary settings as written before transformers 5), `mxfp4` (experts at four
bits, which transformers dequantises to judge them), `seeds` (how many to try), `steadiness` (where
several layers with experts cannot have `WANTED_STEADINESS`), `context` (tokens served, for the
tests) and `released` (published checkpoints of the family: `name`, `config` and number of
`parameters`, which tests compare).

From it this makes a complete Hugging Face folder (weights, tokenizer, chat template) with
`golden.npz`: prompt [P], logits [P, V], hidden [L, P, H] (the residual stream after each layer),
greedy [64] token ids and margins [64], the gap between the best and second logit at each step; all
float32 from eager attention on those weights, widened. `chat.json` holds prompts; `rope.npz` the
rotary frequencies of the settings in `rope.json`, which are those of published models. Seeds are
searched for greedy paths without near-ties, so that rounding the cache to bf16 changes no token.
"""

import copy
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    Mxfp4Config,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.utils import chat_template_utils

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
PROMPT_TOKENS = 70  # more than four KV blocks of 16, not a whole number of them
GREEDY_TOKENS = 64
FAR_CHUNK = 256  # of a long prompt, read at a time
SEEDS = 400
# Where rounding decides between two experts the logits jump. With a sharp router those at the edge
# count little, and seeds are searched until bf16 inputs of products change logits by this at most,
# of their rms.
WANTED_STEADINESS = 0.1
ROUNDINGS = 6
ROUTER_SHARPNESS = 2.0
MXFP4_VALUES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
WANTED_MARGIN = 0.02  # of the logits' spread; bf16 keys and values move logits by 0.006 of it (rms)

CONTROL = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
]
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
COMMON = {"max_position_embeddings": 512, "rms_norm_eps": 1e-5}
LEARN_FROM = (
    "The miller opens the gate and the water runs down the race to the wheel. "
    "When the wheel turns, the stones turn, and the flour falls into the sack below. "
    "In spring there is more water than the mill can use; in summer the pond is low. "
    "A good headrace is short, straight and smooth, so that no water is lost on the way. "
) * 2
# Our own, in the manner of Llama 3.1: a system turn with the date, tools in the first user turn.
TEMPLATE = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set system = '' %}
    {%- set rest = messages %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}
{%- if tools %}
    {{- 'Answer in words, or call a tool.\\n' }}
{%- endif %}
{{- 'The date is ' + strftime_now('%d %b %Y') + '.\\n\\n' }}
{{- system + '<|eot_id|>' }}
{%- if tools %}
    {%- if rest | length == 0 %}
        {{- raise_exception('Tools need a user message to stand in.') }}
    {%- endif %}
    {%- set first = rest[0]['content'] | trim %}
    {%- set rest = rest[1:] %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\nTools, as JSON:\\n\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson(indent=2) }}
        {{- '\\n\\n' }}
    {%- endfor %}
    {{- first + '<|eot_id|>' }}
{%- endif %}
{%- for message in rest %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
WEATHER = {
    "type": "function",
    "function": {
        "name": "water_level",
        "description": "The level at a <gauge>, in mm",
        "parameters": {"type": "object", "properties": {"gauge": {"type": "string"}}},
    },
}
DIALOGUES: list[dict[str, Any]] = [
    {"messages": [["user", "Where does the water go?"]]},
    {"messages": [["system", "  Be brief. "], ["user", "Hi\n"], ["assistant", "Hello."]]},
    {"messages": [["user", "naïve 水車 😀\t\u200dend"]], "add_generation_prompt": False},
    {"messages": [["user", ""], ["assistant", " "], ["user", "a\n\n\n b"]]},
    {"messages": [["user", "How deep is it?"]], "tools": [WEATHER]},
]
CHAT_DAY = datetime(2026, 1, 15)


def make_tokenizer(vocab_size: int) -> Tokenizer:
    """Byte-level BPE of exactly `vocab_size` tokens, the control tokens last."""
    control = CONTROL if vocab_size > 256 + len(CONTROL) else CONTROL[4:]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(control),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([LEARN_FROM], trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    if tokenizer.get_vocab_size() != vocab_size:
        raise SystemExit(f"{tokenizer.get_vocab_size()} tokens, not {vocab_size}: add text")
    return tokenizer


def to_mxfp4(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes [..., B, 16] and scales [..., B] of the nearest MXFP4 values to `values` [..., 32 B].

    The scale lets a block's largest magnitude lie in 4..8, which is cut off at 6.
    """
    blocks = values.unflatten(-1, (-1, 32))
    exponents = torch.floor(torch.log2(blocks.abs().amax(-1))) - 2
    scaled = blocks / torch.exp2(exponents)[..., None]
    nearest = (scaled.abs()[..., None] - MXFP4_VALUES).abs().argmin(-1)
    codes = (nearest + 8 * (scaled < 0)).to(torch.uint8).unflatten(-1, (-1, 2))
    return codes[..., 0] | codes[..., 1] << 4, (exponents + 127).to(torch.uint8)


def from_mxfp4(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """The values again."""
    both = torch.stack([codes & 15, codes >> 4], -1).flatten(-2).long()
    values = torch.cat([MXFP4_VALUES, -MXFP4_VALUES])[both]
    return (values * torch.exp2(scales.float() - 127)[..., None]).flatten(-2)


def quantised(config: PreTrainedConfig) -> bool:
    """Whether its experts are MXFP4."""
    return getattr(config, "quantization_config", None) is not None


def is_expert(name: str) -> bool:
    """Whether the tensor `name` of gpt-oss has the matrices [inputs, rows] of all experts."""
    return name.endswith(("experts.gate_up_proj", "experts.down_proj"))


def random_model(config: PreTrainedConfig, seed: int, dtype: torch.dtype) -> PreTrainedModel:
    """Random weights whose logits spread and whose attention is neither flat nor one-hot.

    In float32, with values that `dtype` holds, or MXFP4 where the configuration says so.
    """
    generator = torch.Generator().manual_seed(seed)
    plain = copy.deepcopy(config)
    if quantised(config):
        del plain.quantization_config
    model = AutoModelForCausalLM.from_config(plain).eval()
    gemma = config.model_type.startswith("gemma")  # its norms multiply by 1 + weight
    with torch.no_grad():
        for name, weight in model.named_parameters():
            drawn = torch.randn(weight.shape, generator=generator)
            if "norm" in name:
                drawn = (0 if gemma else 1) + 0.2 * drawn
            elif weight.dim() == 1:
                drawn = 0.2 * drawn
            else:
                drawn = drawn * 1.5 / weight.shape[1] ** 0.5
            if name.endswith((".gate.weight", ".router.weight")):
                drawn = ROUTER_SHARPNESS * drawn
            if name.endswith(".sinks"):
                drawn = 1 + 5 * drawn  # some take most of a head's attention, some nothing
            if quantised(config) and is_expert(name):
                drawn = from_mxfp4(*to_mxfp4(drawn.mT)).mT
            if gemma and "embed" in name:
                drawn = 0.1 * drawn  # scaled up and tied: else every token would follow itself
            weight.copy_(drawn.to(dtype).float())
    draw_corrections(model, generator, dtype)
    return model


@torch.no_grad()
def draw_corrections(
    model: PreTrainedModel, generator: torch.Generator, dtype: torch.dtype
) -> None:
    """Random numbers that DeepSeek-V3's routers add before they choose, which are no parameters."""
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            drawn = 0.6 * torch.randn(buffer.shape, generator=generator)
            buffer.copy_(drawn.to(dtype).float())


@torch.no_grad()
def greedy(
    model: PreTrainedModel, prompt: torch.Tensor, least: float = 0.0
) -> tuple[list[int], list[float]]:
    """The greedy continuation, and at each step the gap between the two best logits.

    It ends with the first gap below `least`.
    """
    tokens, margins = [], []
    step = model(prompt[None], use_cache=True)
    for _ in range(GREEDY_TOKENS):
        best = step.logits[0, -1].topk(2)
        tokens.append(int(best.indices[0]))
        margins.append(float(best.values[0] - best.values[1]))
        if margins[-1] < least:
            break
        last = torch.tensor([[tokens[-1]]])
        step = model(last, past_key_values=step.past_key_values, use_cache=True)
    return tokens, margins


@torch.no_grad()
def forward(model: PreTrainedModel, prompt: torch.Tensor) -> tuple[Any, Any]:
    """Logits [P, V] and the residual stream after each layer [L, P, H]."""
    hidden: list[torch.Tensor] = []

    def keep(_module: object, _inputs: object, output: Any) -> None:
        hidden.append((output[0] if isinstance(output, tuple) else output).detach()[-1:].squeeze(0))

    hooks = [layer.register_forward_hook(keep) for layer in model.model.layers]
    logits = model(prompt[None], use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    return logits.numpy(), torch.stack(hidden).numpy()


@torch.no_grad()
def is_steady(model: PreTrainedModel, prompt: torch.Tensor, tokens: list[int], most: float) -> bool:
    """Whether rounding what enters products and the cache to bf16 moves logits by `most` at most.

    That is a share of a row's rms, in the prompt and what follows it; and whether rounding the
    cache changes no token. Always without experts, which are what makes logits jump. Several
    roundings are tried: none, or some noise of a bf16's last place before.
    """
    routers = [m for name, m in model.named_modules() if name.endswith((".gate", ".router"))]
    if not routers:
        return True
    whole = torch.cat([prompt, torch.tensor(tokens)])[None]
    exact = model(whole, use_cache=False).logits[0]
    entered = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    entered += [m for m in model.modules() if type(m).__name__.endswith(("Experts", "Router"))]
    keys = ("k_proj", "v_proj", "kv_a_proj_with_mqa")
    cached = [m for name, m in model.named_modules() if name.endswith(keys)]
    for trial in range(ROUNDINGS):
        generator = torch.Generator().manual_seed(trial)

        def rounded(x: torch.Tensor, noise: float, drawn: torch.Generator) -> torch.Tensor:
            shaken = x * (1 + noise * (torch.rand(x.shape, generator=drawn) - 0.5))
            return shaken.bfloat16().float()

        noise = 2.0**-8 if trial else 0.0
        before = lambda _m, i, n=noise, g=generator: (rounded(i[0], n, g), *i[1:])  # noqa: E731
        after = lambda _m, _i, o, n=noise, g=generator: rounded(o, n, g)  # noqa: E731
        kept = [module.register_forward_hook(after) for module in cached]
        hooks = [module.register_forward_pre_hook(before) for module in entered]
        moved = model(whole, use_cache=False).logits[0] - exact
        for hook in hooks:
            hook.remove()
        error = float((moved.abs().amax(-1) / exact.square().mean(-1).sqrt()).max())
        found = greedy(model, prompt)[0] if error <= most else []
        for hook in kept:
            hook.remove()
        if found != tokens:
            return False
    return True


def choose_seed(case: dict[str, Any], config: PreTrainedConfig) -> tuple[int, torch.Tensor]:
    """The first steady seed without near-ties and without short loops, else the best of so many."""
    best = (-1.0, 0)
    for seed in range(case.get("seeds", SEEDS)):
        model = random_model(config, seed, dtype_of(case))
        prompt = draw_prompt(config, seed)
        spread = float(model(prompt[None]).logits.detach().std())
        tokens, margins = greedy(model, prompt, best[0] * spread)
        score = min(margins) / spread if len(set(tokens)) > GREEDY_TOKENS // 3 else 0.0
        most = case.get("steadiness", WANTED_STEADINESS)
        if (score, seed) > best and is_steady(model, prompt, tokens, most):
            best = score, seed
        if best[0] > WANTED_MARGIN:
            break
    print(f"  seed {best[1]}: smallest margin {best[0]:.4f} of the logits' spread")
    return best[1], draw_prompt(config, best[1])


def draw_prompt(config: PreTrainedConfig, seed: int) -> torch.Tensor:
    """Random token ids, any of the vocabulary."""
    generator = torch.Generator().manual_seed(1_000 + seed)
    return torch.randint(config.vocab_size, (PROMPT_TOKENS,), generator=generator)


def rewrite_rope(folder: Path) -> None:
    """Write the rotary settings as releases before transformers 5 did."""
    config = json.loads((folder / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def read_case(folder: Path, name: str = "case.json") -> dict[str, Any]:
    """What `name` asks for; every other file of the folder is taken away."""
    case = json.loads((folder / name).read_text())
    for file in folder.iterdir():
        if file.name != name:
            file.unlink()
    return case


def dtype_of(case: dict[str, Any]) -> torch.dtype:
    """What its weights are stored as."""
    return getattr(torch, case.get("dtype", "bfloat16"))


def make_config(case: dict[str, Any], tokenizer: Tokenizer) -> PreTrainedConfig:
    """The configuration `case` describes, in transformers' words."""
    kind = getattr(transformers, case.get("config_class", f"{case['family']}Config"))
    quantisation = {"quantization_config": {"quant_method": "mxfp4"}} if case.get("mxfp4") else {}
    return kind(
        **quantisation,
        **{**COMMON, **case["sizes"]},
        attn_implementation="eager",
        experts_implementation="eager",
        bos_token_id=tokenizer.token_to_id(CONTROL[0]),
        eos_token_id=tokenizer.token_to_id(CONTROL[4]),
        pad_token_id=None,
    )


def write_model(case: dict[str, Any], model: PreTrainedModel, folder: Path) -> None:
    """Configuration and 16-bit weights, as releases have them."""
    size = sum(p.numel() * 2 for p in model.parameters())
    shard = f"{size * 6 // 10 // 1_000}KB" if case.get("sharded") else "1GB"
    model.to(dtype_of(case)).save_pretrained(folder, max_shard_size=shard)
    if case.get("old_rope"):
        rewrite_rope(folder)
    if case.get("mxfp4"):
        rewrite_experts(folder)


def rewrite_experts(folder: Path) -> None:
    """Write experts as releases of gpt-oss have them: rows of codes and scales."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name in [name for name in tensors if is_expert(name)]:
        codes, scales = to_mxfp4(tensors.pop(name).mT.float())
        tensors |= {f"{name}_blocks": codes.contiguous(), f"{name}_scales": scales.contiguous()}
    save_file(tensors, file, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "mxfp4",
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> bool:
    """The tokenizer; whether it has the control tokens of a chat template."""
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    has_chat = tokenizer.token_to_id(CONTROL[0]) is not None
    if has_chat:
        settings |= {"bos_token": CONTROL[0], "chat_template": TEMPLATE}
    settings["eos_token"] = CONTROL[4]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return has_chat


def load(folder: Path) -> PreTrainedModel:
    """The judge: the written folder in float32, with eager attention."""
    asked = json.loads((folder / "config.json").read_text())
    dequantised = {"quantization_config": Mxfp4Config(dequantize=True)}
    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation="eager",
        experts_implementation="eager",
        **(dequantised if "quantization_config" in asked else {}),
    ).eval()


def write_case(folder: Path) -> None:
    """One folder under tests/golden/."""
    print(folder.name)
    case = read_case(folder)
    tokenizer = make_tokenizer(case["sizes"]["vocab_size"])
    config = make_config(case, tokenizer)
    seed, prompt = choose_seed(case, config)
    write_model(case, random_model(config, seed, dtype_of(case)), folder)
    has_chat = write_tokenizer(tokenizer, folder)
    model = load(folder)
    logits, hidden = forward(model, prompt)
    tokens, margins = greedy(model, prompt)
    np.savez_compressed(
        folder / "golden.npz",
        prompt=prompt.numpy().astype(np.int32),
        logits=logits.astype(np.float32),
        hidden=hidden.astype(np.float32),
        greedy=np.array(tokens, np.int32),
        margins=np.array(margins, np.float32),
    )
    if has_chat:
        write_chat(folder)


def sharpen(model: PreTrainedModel, factor: float) -> None:
    """Larger queries and keys: few of many tokens are attended to, and their positions matter."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "q_proj" in name or "k_proj" in name:
                weight.copy_((weight * factor).bfloat16().float())


@torch.no_grad()
def far_logits(model: PreTrainedModel, prompt: torch.Tensor, rows: list[int]) -> torch.Tensor:
    """Logits [rows, V] of a prompt read in chunks: every position attends to all before it."""
    found, cache = {}, None
    for start in range(0, len(prompt), FAR_CHUNK):
        step = model(prompt[None, start : start + FAR_CHUNK], past_key_values=cache, use_cache=True)
        cache = step.past_key_values
        found |= {row: step.logits[0, row - start] for row in rows if 0 <= row - start < FAR_CHUNK}
    return torch.stack([found[row] for row in rows])


def write_far(folder: Path) -> None:
    """A folder whose prompt fills a context of 131,072, and `far.npz`: prompt, rows, logits."""
    print(folder.name)
    case = read_case(folder, "far.json")
    tokenizer = make_tokenizer(case["sizes"]["vocab_size"])
    config = make_config(case, tokenizer)
    model = random_model(config, seed=0)
    sharpen(model, case["sharpness"])
    write_model(case, model, folder)
    write_tokenizer(tokenizer, folder)
    generator = torch.Generator().manual_seed(1_000)
    prompt = torch.randint(config.vocab_size, (case["prompt_tokens"],), generator=generator)
    logits = far_logits(load(folder), prompt, case["rows"])
    np.savez_compressed(
        folder / "far.npz",
        prompt=prompt.numpy().astype(np.uint16),
        rows=np.array(case["rows"], np.int32),
        logits=logits.numpy().astype(np.float32),
    )


class _Day(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> "datetime":
        return CHAT_DAY


def write_chat(folder: Path) -> None:
    """Prompts as transformers renders and tokenizes them, on one fixed day."""
    chat_template_utils.datetime = _Day
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = []
    for dialogue in DIALOGUES:
        asked = {"tools": None, "add_generation_prompt": True, **dialogue}
        messages = [{"role": role, "content": text} for role, text in dialogue["messages"]]
        ids = tokenizer.apply_chat_template(
            messages,
            tools=asked["tools"],
            add_generation_prompt=asked["add_generation_prompt"],
            tokenize=True,
            return_dict=False,
        )
        prompts.append({**asked, "ids": list(ids)})
    text = json.dumps({"day": CHAT_DAY.isoformat(), "prompts": prompts}, ensure_ascii=False)
    (folder / "chat.json").write_text(text + "\n")


def write_rope() -> None:
    """Frequencies and scale for the settings of published models in rope.json."""
    found = {}
    for name, asked in json.loads((GOLDEN / "rope.json").read_text()).items():
        published = asked["config"]
        rope = {**published["rope_scaling"]}
        rope["rope_type"] = rope.pop("type", rope.get("rope_type"))
        rope["rope_theta"] = published["rope_theta"]
        rope["partial_rotary_factor"] = published.get("partial_rotary_factor", 1.0)
        sizes = {key: published[key] for key in published if not key.startswith("rope")}
        config = LlamaConfig(**sizes, head_dim=asked["head_dim"], rope_parameters=rope)
        length = asked.get("context", published["max_position_embeddings"])
        compute = ROPE_INIT_FUNCTIONS[rope["rope_type"]]
        frequencies, scale = compute(config, torch.device("cpu"), seq_len=length)
        found |= {name: frequencies.numpy(), f"{name}_scale": np.float64(scale)}
    np.savez_compressed(GOLDEN / "rope.npz", **found)


def main(names: list[str]) -> None:
    """Write the named cases, or everything."""
    torch.set_num_threads(1)
    for name in names or sorted(folder.name for folder in GOLDEN.iterdir() if folder.is_dir()):
        if (GOLDEN / name / "far.json").exists():
            write_far(GOLDEN / name)
        else:
            write_case(GOLDEN / name)
    write_rope()


if __name__ == "__main__":
    main(sys.argv[1:])
