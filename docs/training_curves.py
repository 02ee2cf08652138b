"""Writes docs/images/training_curves.png: the same run in PyTorch, TensorFlow and Hugging Face, loss by loss.

`python docs/training_curves.py`; how it is done, and what came out, stands in docs/training_curves.md.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    # In the place of this folder, whose tabulate.py is not the library of that name.
    sys.path[0] = str(Path(__file__).parents[1])

from configs import RunConfig, load_run_config
from train.objectives import prepare
from train.objectives.corpus import Corpus
from train.schedule import learning_rate

ROOT = Path(__file__).parents[1]
PICTURE = Path(__file__).parent / "images" / "training_curves.png"
STEPS = 100
LIMITS = {"float32": 1e-4, "float64": 1e-9}
COLORS = {"PyTorch": "#1f6feb", "TensorFlow": "#e08e00", "Hugging Face": "#2a9d6f"}
SHARED = {"train.max_steps": STEPS, "model.num_layers": 2, "model.width": 32, "model.feed_forward.width": 64, "schedule.warmup_steps": 10}


def gpt2(folder: Path) -> RunConfig:
    """GPT-2 on the next character of the words that `configs/runs/gpt2_shakespeare.yaml` is given, here a page of pydoc."""
    from pydoc_data.topics import topics

    text = folder / "topics.txt"
    text.write_text("".join(topics[name] for name in sorted(topics))[:60_000], encoding="utf-8")
    changes = {"data.source": "text", "data.path": text, "model.max_length": 24, "model.attention.num_heads": 4}
    changes |= {"model.vocab_size": 128, "train.batch_size": 8, "train.accumulation_steps": 2, "optimizer.learning_rate": 3e-3}
    return small("gpt2_shakespeare", changes)


RUNS: dict[str, Callable[[Path], RunConfig]] = {"GPT-2, next token": gpt2}


def small(name: str, changes: dict[str, Any]) -> RunConfig:
    values = [f"{key}={value}" for key, value in (SHARED | changes).items()]
    return load_run_config(ROOT / "configs" / "runs" / f"{name}.yaml", [*values, "model.dropout=0"])


def pytorch(config: RunConfig, corpus: Corpus, dtype: str) -> Iterator[float]:
    """The losses of `train.loop`."""
    import torch
    from accelerate import Accelerator

    from train.loop import Trainer
    from train.run_folder import RunFolder
    from transformer_torch.optimizer import make_moments

    before = torch.get_default_dtype()
    # The loop adds up its loss in this type.
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        trainer = Trainer(config, Accelerator(cpu=True), corpus, RunFolder(Path(), resumed=False))
        trainer.plain.to(getattr(torch, dtype))
        make_moments(trainer.optimizer)
        for step in range(STEPS):
            yield float(trainer.train_step(step, rate(config, step))[0])
    finally:
        torch.set_default_dtype(before)


def tensorflow(config: RunConfig, corpus: Corpus, dtype: str) -> Iterator[float]:
    """The losses of `train.tensorflow_loop`."""
    from train.tensorflow_loop import Trainer

    trainer = Trainer(config, corpus, dtype=dtype)
    for step in range(STEPS):
        yield float(trainer.step(step)[0])


def hugging_face(config: RunConfig, corpus: Corpus, dtype: str) -> Iterator[float]:
    """The losses of a plain loop around Hugging Face's model, with its own loss and PyTorch's AdamW; nothing of ours but the
    data, the initial weights and the learning rate."""
    import torch
    import transformers
    from transformers.trainer_pt_utils import LabelSmoother

    import transformer_torch
    from parity.huggingface import HuggingFace

    with tempfile.TemporaryDirectory() as folder:
        transformer_torch.save(transformer_torch.Transformer(config.model, seed=config.seed), Path(folder) / "hf", to="hf")
        settings = transformers.AutoConfig.from_pretrained(Path(folder) / "hf")
        kind = getattr(transformers, settings.architectures[0])
        for name in ("attn_pdrop", "embd_pdrop", "resid_pdrop", "dropout", "attention_dropout", "activation_dropout"):
            if hasattr(settings, name):
                setattr(settings, name, 0.0)
        oracle = HuggingFace(kind.from_pretrained(Path(folder) / "hf", config=settings), config.model, double=dtype == "float64")
    model, recipe = oracle.model.train(), config.optimizer
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon)
    smoother = LabelSmoother(epsilon=config.objective.label_smoothing)
    for step in range(STEPS):
        batch = corpus.train.batch(step)
        with oracle._arithmetic() if dtype == "float64" else nullcontext():
            out = model(**{name: torch.from_numpy(values) for name, values in batch.inputs.items()})
            loss = smoother(out, torch.from_numpy(batch.labels))
            loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, recipe.clip or float("inf"))
        for group in adamw.param_groups:
            group["lr"] = rate(config, step)
        adamw.step()
        adamw.zero_grad()
        yield loss.item()


def rate(config: RunConfig, step: int) -> float:
    return learning_rate(config.schedule, config.optimizer.learning_rate, step, config.train.max_steps)


IMPLEMENTATIONS: dict[str, Callable[[RunConfig, Corpus, str], Iterator[float]]] = {
    "PyTorch": pytorch,
    "TensorFlow": tensorflow,
    "Hugging Face": hugging_face,
}


def curves(run: str, dtype: str) -> dict[str, np.ndarray]:
    """The loss before each step, in nats per token, by implementation."""
    with tempfile.TemporaryDirectory() as folder:
        config = RUNS[run](Path(folder))
        corpus = prepare(config)
    return {name: np.array(list(losses(config, corpus, dtype))) for name, losses in IMPLEMENTATIONS.items()}


def picture(found: dict[str, dict[str, dict[str, np.ndarray]]]) -> None:
    """found: curves by run and type of numbers. Above the curves, below how far they are from PyTorch's in float64."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(found), squeeze=False, sharex=True, sharey="row", height_ratios=[1, 1.3])
    steps = np.arange(1, STEPS + 1)
    for (losses, differences), (run, by_dtype) in zip(grid.T, found.items(), strict=True):
        for (name, curve), style in zip(by_dtype["float32"].items(), ("-", "--", ":"), strict=True):
            losses.plot(steps, curve, style, color=COLORS[name], linewidth=2, label=name)
        losses.set_title(run, loc="left", fontweight="bold")
        for dtype, style in (("float32", "-"), ("float64", "--")):
            ours = by_dtype[dtype]["PyTorch"]
            for name in ("TensorFlow", "Hugging Face"):
                # A logarithm knows no zero: equal to the last digit is drawn at the bottom.
                apart = np.maximum(np.abs(by_dtype[dtype][name] - ours), 1e-16)
                differences.plot(steps, apart, style, color=COLORS[name], linewidth=1.2, label=f"{name}, {dtype}")
            differences.axhline(LIMITS[dtype], color="#d1495b", linewidth=0.8)
            differences.text(1, LIMITS[dtype] * 1.4, f"allowed in {dtype}", color="#d1495b", fontsize=8)
        differences.set_yscale("log")
        differences.set_ylim(5e-17, 2e-3)
        differences.set_xlabel("step")
    grid[0, 0].set_ylabel("loss (nats per token)")
    grid[0, 0].legend(frameon=False)
    grid[1, 0].set_ylabel("distance from PyTorch (nats)")
    grid[1, -1].legend(frameon=False, fontsize=8, loc="center right")
    for axes in grid.flat:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
    figure.savefig(PICTURE, dpi=130, format="png", metadata={"Software": None})


def main() -> None:
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {run: {} for run in RUNS}
    for run, by_dtype in found.items():
        for dtype in LIMITS:
            by_dtype[dtype] = losses = curves(run, dtype)
            ours = losses["PyTorch"]
            apart = {name: float(np.abs(curve - ours).max()) for name, curve in losses.items() if name != "PyTorch"}
            words = ", ".join(f"{name} {value:.1e} apart" for name, value in apart.items())
            print(f"{run}, {dtype}: from {ours[0]:.4f} to {ours[-1]:.4f}, {words}", flush=True)
    picture(found)
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
