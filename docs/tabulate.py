"""Writes docs/mechanisms.md: the families by mechanism, drawn from the presets in configs/models. `python docs/tabulate.py`"""

from __future__ import annotations

from pathlib import Path

from configs import ModelConfig, load_model_config
from weight_mapping import families

# One preset of each family, in the order in which the mechanisms build on each other.
PRESETS = (
    "transformer-base",
    "opus-mt-en-de",
    "bart-base",
    "t5-small",
    "t5-v1_1-small",
    "whisper-tiny",
    "bert-base",
    "roberta-base",
    "xlm-roberta-base",
    "distilbert-base",
    "electra-small",
    "modernbert-base",
    "vit-base-patch16-224",
    "deit-small-patch16-224",
    "clip-vision-base-patch32",
    "clip-text-base",
    "gpt2",
    "opt-125m",
    "pythia-70m",
    "llama-3.2-1b",
    "mistral-7b",
    "mixtral-8x7b",
    "qwen2-0.5b",
    "qwen3-0.6b",
    "gemma2-2b",
    "gemma3-1b",
)
PAGE = Path(__file__).parent / "mechanisms.md"
ROOT = PAGE.parents[1]
HEAD = """# The families by mechanism

Drawn from the presets in `configs/models/` by `python docs/tabulate.py`; a test holds this page to them. A cell names what a family has;
what each word means stands in `configs/parts.py` and `configs/positions.py`, where every mechanism is one field with its paper.

"""

COST = """
## What a family costs

A family is data: one file in `weight_mapping/families/` and its presets, with their lines. The models are the same for all.

"""


def norm(config: ModelConfig) -> str:
    norm = config.norm
    more = [
        "1 + w" if norm.unit_offset else "",
        "no bias" if norm.kind == "layer" and not norm.bias else "",
        "not before the first" if not norm.first else "",
    ]
    return ", ".join(filter(None, [norm.kind, norm.placement, f"{norm.epsilon:g}", *more]))


def positions(config: ModelConfig) -> str:
    positions = config.positions
    values = positions.model_dump(exclude={"kind", "scaling"}, exclude_defaults=True)
    more = [f"{name.replace('_', ' ')} {value:g}" if isinstance(value, float | int) else f"{value}" for name, value in values.items()]
    scaling = getattr(positions, "scaling", None)
    return ", ".join([positions.kind, *more, *([f"scaling {scaling.kind}"] if scaling else [])])


def attention(config: ModelConfig) -> str:
    attention = config.attention
    bias = {0: "no bias", 4: "biases"}.get(len(attention.bias), "biases of " + ", ".join(attention.bias))
    heads = f"{attention.num_heads} heads"
    if config.num_key_value_heads != attention.num_heads:
        heads += f" on {config.num_key_value_heads}"
    more = [
        f"of {config.head_size}" if config.head_size * attention.num_heads != config.width else "",
        "scores not scaled" if config.attention_scale == 1.0 else "",
        f"soft cap {attention.soft_cap:g}" if attention.soft_cap else "",
        f"window {attention.window}" + (f" ({attention.window_layers})" if "f" in attention.window_layers else "")
        if attention.window
        else "",
        "normalized queries and keys" if attention.query_key_norm else "",
    ]
    return ", ".join(filter(None, [heads, *more, bias]))


def feed_forward(config: ModelConfig) -> str:
    part = config.feed_forward
    experts = f"{part.experts.per_token} of {part.experts.count} experts" if part.experts else ""
    words = [part.activation, "gated" if part.gated else "", experts, "" if part.bias else "no bias"]
    return ", ".join(filter(None, words)) + (", beside attention" if config.parallel_residual else "")


def embeddings(config: ModelConfig) -> str:
    words = [
        {"tokens": "tokens", "patches": "patches, class token", "audio": "tokens; audio through two convolutions"}[config.inputs.kind],
        "no bias" if not getattr(config.inputs, "bias", True) else "",
        "segments" if config.embedding.token_types else "",
        "times sqrt(D)" if config.embedding.scale else "",
        "norm" if config.embedding.norm else "",
        f"projected from {config.embedding.width}" if config.embedding.width else "",
    ]
    return ", ".join(filter(None, words))


def head(config: ModelConfig) -> str:
    words = [
        config.head.kind.replace("_", " "),
        ("tied" if config.head.tied else "own matrix") if config.head.is_language_model else "",
        "transform" if config.head.transform else "",
        f"to {config.head.width}" if config.head.width else "",
        "bias" if config.head.bias and config.head.is_language_model else "",
        "times 1/sqrt(D)" if config.head.scale else "",
        f"soft cap {config.head.soft_cap:g}" if config.head.soft_cap else "",
        f"pooler: {config.pooler.kind}" if config.pooler else "",
    ]
    return ", ".join(filter(None, words))


COLUMNS = {
    "norm": norm,
    "positions": positions,
    "attention": attention,
    "feed-forward": feed_forward,
    "embeddings": embeddings,
    "head": head,
}


def page() -> str:
    """The whole page."""
    lines = [
        f"| preset | family | stacks | {' | '.join(COLUMNS)} |",
        "|" + "---|" * (3 + len(COLUMNS)),
    ]
    for preset in PRESETS:
        config = load_model_config(preset)
        stacks = config.architecture.replace("_", "-")
        cells = [f"`{preset}`", f"`{config.family}`", stacks, *(column(config) for column in COLUMNS.values())]
        lines.append(f"| {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + "\n" + COST + "\n".join(costs()) + "\n"


def costs() -> list[str]:
    """A line for each family: how long its file is, and each of its presets."""
    presets: dict[str, list[str]] = {}
    for path in sorted((ROOT / "configs" / "models").glob("*.yaml")):
        presets.setdefault(load_model_config(path).family, []).append(f"`{path.stem}` {count(path)}")
    lines = ["| family | lines of its file | lines of its presets |", "|---|---|---|"]
    for family in families():
        lines.append(f"| `{family}` | {count(ROOT / 'weight_mapping' / 'families' / f'{family}.py')} | {', '.join(presets[family])} |")
    return lines


def count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
