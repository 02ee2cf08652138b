"""Writes docs/scaling.md and its picture: memory, time and traffic from 124M to 70B parameters on 1 to 1,024 GPUs. `python docs/plan.py`

Formulas only: P parameters, L layers, D width, F feed-forward width, H heads, G key/value heads, K head size, V vocabulary, T tokens of a
sequence, N GPUs. `tests/docs/test_plan.py` holds them to what the models, the dry run and a measured run say.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    # In the place of this folder, whose tabulate.py is not the library of that name.
    sys.path[0] = str(Path(__file__).parents[1])

from configs import ModelConfig, load_model_config

PAGE = Path(__file__).parent / "scaling.md"
PICTURE = Path(__file__).parent / "images" / "scaling.png"
NUMBERS = (1, 8, 64, 256, 1024)
PEAK, UTILIZATION = 989.5e12, 0.40
MEMORY, KEPT_FREE = 80e9, 0.20
INSIDE, BETWEEN = 450e9, 50e9
MACHINE = 8
TOKENS_PER_PARAMETER = 20

TEXT = """# Planning beyond these machines

What a run would need on 1 to 1,024 GPUs with 80 GB each, an H100's. All of it is computed by `python docs/plan.py`, and **only
124M was measured on a GPU**: a plan says what to try, and the first hundred steps say what is so. What can be checked without one is
checked (`tests/docs/test_plan.py`): parameters against the presets, exactly; FLOPs and kept bytes against `--dry-run`, exactly, which
counts the very step that would run; and the sum against the memory of a process that trains on a CPU, which was 1.1 to
1.35 times as much.

P parameters, L layers, D width, F feed-forward width, H heads, G key/value heads of size K, V vocabulary, T tokens of a sequence, N GPUs.

## Sizes

<SIZES>
A token costs 6 FLOPs for each weight of a matrix product, 2 forward and 4 backward, the head's too, and 12 L T H K for attention
(Chowdhery et al. 2022, appendix B). The last column is that by 6 P: a token costs 7 to 15% more than the rule of thumb says.

## Memory of a GPU, in GB

This trainer keeps weights, gradients and AdamW's two moments in float32, 16 bytes a parameter, and computes in bf16.

- **DDP** holds them all on every GPU, and autocast adds a bf16 copy of the weights: 18 P.
- **FSDP2** holds a share, 16 P / N, and in bf16 what is being computed: all that is outside of the layers, one layer, and the next one,
  gathered ahead. The gradients of the largest group are there whole, in bf16 and in the float32 in which they are summed. That is 2 (R +
  2 P_layer) + 6 max(R, P_layer), R being the parameters outside of the layers. It does not shrink with N: beyond some hundred GPUs
  nothing is gained.
- **Activations** of each token and layer, in bytes: 26 D + 4 F + 4 H + 16 for GPT-2's layer, 32 D + 4 G K + 8 F + 4 H + 8 for Llama's.
  The kernel of attention keeps no scores. Outside of the layers 6 D or 10 D, and 2 V for the gradient of the logits. With
  `train.gradient_checkpointing=true` a layer keeps its input, 4 D, and one layer at a time is whole; it costs a second forward pass, a
  third more time. These are autocast's, of DDP; FSDP2 casts the whole model to bf16, and keeps less.

<MEMORY>
Activations are of one sequence of T tokens; a GPU takes as many as the rest leaves room for, and `train.accumulation_steps` makes any
batch out of them. The sum is what must be there, and a process takes more: one that trains in float32 on a CPU grew by 533 MB for a sum of
476 that is mostly weights, by 481 for 378, half of it activations, and by 744 for 558, mostly activations. The difference is what a layer's
backward pass and the logits need while they are computed. So bold, which does not fit, is what leaves less than a fifth of the 80 GB free
(an assumption).

![memory of a GPU](images/scaling.png)

## Time for 20 tokens a parameter

The FLOPs of a token as above, at an **assumed utilisation of 40%** of the 989.5 TFLOP/s that the vendor promises for dense bf16. The run
prints what it reaches (`train/utilization.py`): 46.3% for 124M on one H200, compiled, 64 sequences at a time (`benchmarks/README.md`).
The peak of memory was 30.6 GB there, where `--dry-run` says 34.6 without the compiler; time goes with its inverse. 20 tokens a parameter
are Hoffmann et al. 2022's.

<TIME>
Each GPU takes at least one sequence: 1,024 GPUs with 4,096 tokens each are 4.2 million tokens a step. For the smaller sizes so large a
batch learns less from each token, and the last columns are not to be had.

## Traffic of a step

What each GPU sends, rings assumed, over 64 GPUs; seconds at 50 GB/s between machines (400 Gbit/s a GPU), and for tensor parallelism at
450 GB/s inside of one (NVLink, one direction): data sheets, not measurements.

- **DDP** sums the gradients once in a step, in float32: 2 (N - 1) / N 4 P bytes.
- **FSDP2** gathers the layers' bf16 weights forward and again backward, what is outside of them once, and sums float32 gradients in
  shares: (N - 1) / N (8 P - 2 R), R as above. With accumulation, all of it again for every part, where DDP waits: gradients that wait would
  have to be whole.
- **Tensor parallelism** divides every matrix among the GPUs of a machine, and sums hidden states four times a layer. **This project does
  not implement it.** Nor does it pipeline layers over machines.

<COMMUNICATION>
Sending overlaps with computing. The last columns say from how many tokens of a GPU and step on computing takes longer than sending at 50
GB/s: about 9,000, for every size, because both grow with P. Below that the network is the limit, and larger batches on each GPU are what
helps: by accumulation for DDP, by memory for FSDP2.

## Which launcher file

In `configs/accelerate/`, for one sequence on each GPU; "checkpointing" is `train.gradient_checkpointing=true`.

<CHOICE>
`two_machines` is DDP for any number of machines, and `fsdp2` FSDP2 for any number of GPUs:

    accelerate launch --config_file configs/accelerate/two_machines.yaml --num_machines 8 --num_processes 64 \\
        --machine_rank RANK --main_process_ip FIRST -m train RUN.yaml
    accelerate launch --config_file configs/accelerate/fsdp2.yaml --num_machines 8 --num_processes 64 \\
        --machine_rank RANK --main_process_ip FIRST --main_process_port 29500 -m train RUN.yaml

- What fits with DDP runs with DDP: it sends while it computes, waits while it accumulates, and has the precision of autocast.
- FSDP2 is for what does not. `fsdp_reshard_after_forward: false` keeps gathered weights for the backward pass: a quarter less traffic for
  2 P more memory.
- `deepspeed` is DeepSpeed's ZeRO, for those who have it: in bf16, with gradients summed in float32, stage 1 holds (6 + 12 / N) P bytes,
  stage 2 (2 + 16 / N) P, and stage 3 18 P / N.
- Every process makes the whole model in float32 on its GPU before it is sharded: 13B starts on 80 GB (52 GB), and 70B does not (276 GB),
  whatever the table says of its steps. Checkpoints are whole files, which the main process gathers into its machine's memory (12 P bytes)
  and every process reads. Weights that are made in shares, and checkpoints in shares, are not built.
- What a 70B run wants besides, tensor parallelism inside of machines and pipelines between them, is built elsewhere (Megatron-LM,
  torchtitan)."""

LLAMA = [
    "positions={kind: rotary, base: 10000.0}",
    "head={kind: language_model, tied: false}",
    "vocab_size=32000",
    "max_length=4096",
    "special_tokens={bos: 1, eos: [2]}",
]


@dataclass(frozen=True)
class Plan:
    """A size, the preset it comes from, and what is changed there."""

    name: str
    shape: str
    preset: str
    changes: tuple[str, ...] = ()

    @property
    def config(self) -> ModelConfig:
        return load_model_config(self.preset, list(self.changes))


def llama(name: str, shape: str, layers: int, width: int, heads: int, key_value_heads: int, feed_forward: int) -> Plan:
    attention = f"attention={{num_heads: {heads}, num_key_value_heads: {key_value_heads}, head_size: {width // heads}}}"
    sizes = (f"num_layers={layers}", f"width={width}", attention, f"feed_forward.width={feed_forward}")
    return Plan(name, shape, "llama-3.2-1b", (*LLAMA, *sizes))


PLANS = (
    Plan("124M", "`gpt2`", "gpt2"),
    Plan("350M", "`gpt2-medium`", "gpt2-medium"),
    Plan(
        "1.3B",
        "GPT-3 XL (Brown et al. 2020, table 2.1), with heads of 128",
        "gpt2",
        ("num_layers=24", "width=2048", "attention.num_heads=16", "feed_forward.width=8192", "max_length=2048"),
    ),
    llama("7B", "Llama 2 7B", 32, 4096, 32, 32, 11008),
    llama("13B", "Llama 2 13B", 40, 5120, 40, 40, 13824),
    llama("70B", "Llama 2 70B", 80, 8192, 64, 8, 28672),
)


def layer_products(config: ModelConfig) -> int:
    """Weights of a layer's matrix products: D K (2 H + 2 G) + D F, times 3 for a gated feed-forward and 2 for a plain one."""
    attention = config.width * config.head_size * 2 * (config.attention.num_heads + config.num_key_value_heads)
    return attention + (3 if config.feed_forward.gated else 2) * config.width * config.feed_forward.width


def layer_parameters(config: ModelConfig) -> int:
    """The same with biases and the two norms."""
    widths = {"query": config.attention.num_heads, "key": config.num_key_value_heads, "value": config.num_key_value_heads}
    biases = sum(config.width if part == "output" else widths[part] * config.head_size for part in config.attention.bias)
    if config.feed_forward.bias:
        biases += (2 if config.feed_forward.gated else 1) * config.feed_forward.width + config.width
    return layer_products(config) + biases + 2 * norm(config)


def norm(config: ModelConfig) -> int:
    return config.width * (2 if config.norm.kind == "layer" else 1)


def rest_parameters(config: ModelConfig) -> int:
    """What is outside of the layers: the token table, the positions that are learned, the final norm, a head of its own."""
    tables = config.vocab_size * (1 if config.head.tied else 2)
    positions = config.max_length if config.positions.kind == "learned" else 0
    return (tables + positions) * config.width + norm(config)


def parameters(config: ModelConfig) -> int:
    return config.num_layers * layer_parameters(config) + rest_parameters(config)


def flops_per_token(config: ModelConfig, length: int) -> int:
    """Forward and backward pass: 6 for each weight of a product, the head's too, and 12 L T H K for queries by keys and what they weigh."""
    weights = config.num_layers * layer_products(config) + config.vocab_size * config.width
    return 6 * weights + 12 * config.num_layers * length * config.attention.num_heads * config.head_size


def layer_activations(config: ModelConfig, bf16: bool = True) -> int:
    """Bytes that a layer keeps of each token for the backward pass."""
    width, key_value = config.width, config.num_key_value_heads * config.head_size
    feed_forward, heads = config.feed_forward.width, config.attention.num_heads
    if config.feed_forward.gated:
        return (32 * width + 4 * key_value if bf16 else 36 * width + 8 * key_value) + (8 if bf16 else 16) * feed_forward + 4 * heads + 8
    return (26 if bf16 else 36) * width + (4 if bf16 else 8) * feed_forward + 4 * heads + 16


def activations(config: ModelConfig, checkpointing: bool, bf16: bool = True) -> int:
    """Bytes of each token over all layers, and of the logits, of which the gradient alone is kept. With gradient checkpointing a
    layer keeps its input, and one layer at a time is whole."""
    layers = config.num_layers * 4 * config.width + layer_activations(config, bf16) if checkpointing else 0
    layers = layers or config.num_layers * layer_activations(config, bf16)
    ends = {("layer", True): 6, ("layer", False): 8, ("rms", True): 10, ("rms", False): 12}[config.norm.kind, bf16]
    return layers + ends * config.width + (2 if bf16 else 4) * config.vocab_size


def replicated(config: ModelConfig) -> float:
    """DDP: weights, gradients and two moments in float32, and the bf16 copies of the weights that autocast makes."""
    return 18.0 * parameters(config)


def sharded(config: ModelConfig, number: int) -> float:
    """FSDP2: a share of the same 16 bytes; whole in bf16 what is outside of the layers, the layer that is computed and the one that is
    gathered ahead; and the gradients of the largest group, in bf16 and as the float32 that is summed."""
    if number == 1:
        return replicated(config)
    layer, rest = layer_parameters(config), rest_parameters(config)
    return 16.0 * parameters(config) / number + 2 * (rest + 2 * layer) + 6 * max(rest, layer)


def seconds(config: ModelConfig, tokens: float, number: int) -> float:
    return tokens * flops_per_token(config, config.max_length) / (number * PEAK * UTILIZATION)


def traffic(config: ModelConfig, number: int, tokens: int) -> dict[str, float]:
    """Bytes that each GPU sends in a step; rings, so (N - 1) / N of everything. tokens: of one GPU."""
    ring, size = (number - 1) / number, parameters(config)
    gathered = 2 * config.num_layers * layer_parameters(config) + rest_parameters(config)
    # Two sums in the forward pass of a layer and two in its backward pass, over the GPUs of a machine.
    sums = 4 * config.num_layers * 2 * (MACHINE - 1) / MACHINE * 2 * config.width * tokens
    return {"DDP": ring * 2 * 4 * size, "FSDP2": ring * (2 * gathered + 4 * size), "tensor parallelism": sums}


def gigabytes(size: float) -> str:
    """Bold where it does not fit."""
    text = f"{size / 1e9:,.1f}" if size < 100e9 else f"{size / 1e9:,.0f}"
    return text if fits(size) else f"**{text}**"


def fits(size: float) -> bool:
    return size <= MEMORY * (1 - KEPT_FREE)


def duration(value: float) -> str:
    for unit, length in (("years", 365 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60), ("s", 1)):
        if value >= 2 * length:
            return f"{value / length:,.1f} {unit}"
    return f"{value * 1000:,.0f} ms"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def sizes() -> str:
    rows = []
    for plan in PLANS:
        config = plan.config
        shape = f"{config.num_layers} x {config.width}, F {config.feed_forward.width:,}, {config.attention.num_heads} heads"
        if config.num_key_value_heads != config.attention.num_heads:
            shape += f" on {config.num_key_value_heads}"
        flops = flops_per_token(config, config.max_length)
        row = [plan.name, plan.shape, shape, f"{config.max_length:,}", f"{parameters(config):,}", f"{flops / 1e9:,.2f}"]
        rows.append([*row, f"{flops / 6 / parameters(config):.2f}"])
    return table(["size", "model", "layers x D", "T", "P, exactly", "GFLOP a token", "by 6 P"], rows)


def memory() -> str:
    rows = []
    for plan in PLANS:
        config = plan.config
        kept = [activations(config, checkpointing) * config.max_length for checkpointing in (False, True)]
        rows.append(
            [
                plan.name,
                gigabytes(replicated(config)),
                *(gigabytes(sharded(config, number)) for number in NUMBERS[1:]),
                *map(gigabytes, kept),
            ]
        )
    head = ["size", "DDP, any N", *(f"FSDP2, N = {number:,}" for number in NUMBERS[1:])]
    return table([*head, "activations of a sequence", "with checkpointing"], rows)


def time() -> str:
    rows = []
    for plan in PLANS:
        config = plan.config
        tokens = TOKENS_PER_PARAMETER * parameters(config)
        spent = [duration(seconds(config, tokens, number)) for number in NUMBERS]
        rows.append(
            [plan.name, f"{tokens / 1e9:,.1f} billion", f"{PEAK * UTILIZATION / flops_per_token(config, config.max_length):,.0f}", *spent]
        )
    return table(["size", "tokens", "tokens/s of a GPU", *(f"N = {number:,}" for number in NUMBERS)], rows)


def communication() -> str:
    rows = []
    for plan in PLANS:
        config = plan.config
        tokens = config.max_length
        sent = traffic(config, 64, tokens)
        work = tokens * flops_per_token(config, tokens) / (PEAK * UTILIZATION)
        cells = [
            f"{sent[name] / 1e9:,.2f} GB, {duration(sent[name] / speed)}"
            for name, speed in (("DDP", BETWEEN), ("FSDP2", BETWEEN), ("tensor parallelism", INSIDE))
        ]
        needed = [sent[name] / BETWEEN / (work / tokens) for name in ("DDP", "FSDP2")]
        rows.append([plan.name, duration(work), *cells, *(f"{value:,.0f}" for value in needed)])
    head = ["size", "one sequence computes", "DDP", "FSDP2", "tensor parallelism over 8", "tokens a GPU, DDP", "tokens a GPU, FSDP2"]
    return table(head, rows)


def best(config: ModelConfig, number: int) -> str:
    """The launcher's file, and whether gradient checkpointing is needed for one sequence on each GPU."""
    for checkpointing in (False, True):
        kept = activations(config, checkpointing) * config.max_length
        more = ", checkpointing" if checkpointing else ""
        if fits(replicated(config) + kept):
            name = {1: "one_gpu", 8: "eight_gpus"}.get(number, "two_machines")
            return f"`{name}`{more}"
        if number > 1 and fits(sharded(config, number) + kept):
            starts = "" if fits(4 * parameters(config)) else "; its steps fit, its start does not"
            return f"`fsdp2`{more}{starts}"
    return "does not fit"


def choice() -> str:
    rows = [[plan.name, *(best(plan.config, number) for number in NUMBERS)] for plan in PLANS]
    return table(["size", *(f"N = {number:,}" for number in NUMBERS)], rows)


def page() -> str:
    """The whole page."""
    text = TEXT
    parts = {"SIZES": sizes, "MEMORY": memory, "TIME": time, "COMMUNICATION": communication, "CHOICE": choice}
    for name, part in parts.items():
        text = text.replace(f"<{name}>\n", f"{part()}\n")
    return text


def draw() -> None:
    """Memory of a GPU over the number of GPUs, one sequence on each, with gradient checkpointing."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.8), layout="constrained")
    numbers = [2**power for power in range(11)]
    for index, plan in enumerate(PLANS):
        config, color = plan.config, f"C{index}"
        kept = activations(config, True) * config.max_length
        axes.plot(numbers, [(sharded(config, number) + kept) / 1e9 for number in numbers], color=color, label=plan.name)
        axes.axhline((replicated(config) + kept) / 1e9, color=color, linestyle=":", linewidth=1)
    axes.axhline(MEMORY / 1e9, color="black", linewidth=1)
    axes.annotate("80 GB", (1, MEMORY / 1e9), textcoords="offset points", xytext=(2, 4))
    axes.set(xscale="log", yscale="log", xlabel="GPUs", ylabel="GB on each", title="FSDP2 (lines) and DDP (dotted), by formula")
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
    axes.minorticks_off()
    axes.legend()
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    draw()
    print(f"wrote {PAGE} and {PICTURE}")
