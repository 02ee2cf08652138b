"""docs/scaling.md is what its script writes, and its formulas are what the models and a run say."""

from __future__ import annotations

import math
import platform
import subprocess
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from configs import ModelConfig, RunConfig, load_model_config, load_run_config
from tests.docs.test_mechanisms import DOCS, load
from tests.train.runs import environment
from train.batches import Batch
from train.dry_run import count_step
from weight_mapping import canonical_tensors

SHAKESPEARE = {"gpt2": "gpt2_shakespeare", "llama": "llama_shakespeare"}
SIZES = {"num_layers": 3, "width": 64, "attention.num_heads": 8, "feed_forward.width": 96, "vocab_size": 80, "max_length": 48, "dropout": 0}
# A step of training, and by how many bytes the process has grown when it was largest.
GROWTH = """
import re, sys, torch
from configs import load_model_config
from configs.run import Optimizer
from train.memory import keep_freed_memory
from transformer_torch import Transformer, cross_entropy
from transformer_torch.optimizer import build_optimizer, make_moments

def peak():
    # Not getrusage's, which begins with what the parent process has had.
    return int(re.search("VmHWM:[^0-9]*([0-9]+) kB", open("/proc/self/status").read()).group(1))

def train(layers, width, batch, length):
    sizes = [f"num_layers={layers}", f"width={width}", f"feed_forward.width={4 * width}", f"max_length={length}", "dropout=0"]
    model = Transformer(load_model_config("gpt2-character", [*sizes, "vocab_size=4096"]))
    adamw = build_optimizer(model, Optimizer())
    make_moments(adamw)
    ids = torch.zeros(batch, length, dtype=torch.long)
    for _ in range(2):
        (cross_entropy(model(ids), ids) / ids.numel()).backward()
        adamw.step()
        adamw.zero_grad(set_to_none=False)

keep_freed_memory()
torch.set_num_threads(1)
train(1, 32, 1, 64)
before = peak()
train(*map(int, sys.argv[1:]))
print((peak() - before) * 1024)
"""


@pytest.fixture(scope="module")
def plan() -> ModuleType:
    return load("plan")


def run(family: str, **changes: Any) -> RunConfig:
    """A small run of one family; `train__precision` stands for train.precision."""
    values = {f"model.{key}": value for key, value in SIZES.items()} | {key.replace("__", "."): value for key, value in changes.items()}
    path = DOCS.parent / "configs" / "runs" / f"{SHAKESPEARE[family]}.yaml"
    return load_run_config(path, [f"{key}={value}" for key, value in values.items()])


def counted(config: RunConfig, sequences: int) -> tuple[int, int, int]:
    """Parameters, FLOPs and bytes that the dry run counts."""
    ids_BT = np.zeros((sequences, config.model.max_length), np.int64)
    return count_step(config, Batch({"input_ids": ids_BT}, ids_BT, ids_BT.size))


def true_parameters(config: ModelConfig) -> int:
    return sum(math.prod(tensor.shape) for tensor in canonical_tensors(config))


def test_the_page_is_what_the_script_writes(plan) -> None:
    assert (DOCS / "scaling.md").read_text(encoding="utf-8") == plan.page(), "run python docs/plan.py"


@pytest.mark.parametrize("preset", ["gpt2", "gpt2-medium", "gpt2-xl", "llama-3.2-1b", "mistral-7b", "llama-character"])
def test_parameters_are_those_of_the_presets(plan, preset) -> None:
    config = load_model_config(preset)
    assert plan.parameters(config) == true_parameters(config)


def test_parameters_of_the_plans_are_exact(plan) -> None:
    """Llama 2's as its files have them."""
    found = {size.name: plan.parameters(size.config) for size in plan.PLANS}
    assert found == {size.name: true_parameters(size.config) for size in plan.PLANS}
    assert (found["7B"], found["13B"], found["70B"]) == (6_738_415_616, 13_015_864_320, 68_976_648_192)


@pytest.mark.parametrize("key_value_heads", [8, 2])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_flops_and_kept_bytes_are_what_the_dry_run_counts(plan, family, precision, key_value_heads) -> None:
    """Between two sequences and three lie the bytes of one, without the copies of the weights."""
    changes: dict[str, Any] = {"train__precision": precision}
    if family == "llama":
        changes["model__attention__num_key_value_heads"] = key_value_heads
    config = run(family, **changes)
    (_, fewer_flops, fewer), (_, more_flops, more) = counted(config, 2), counted(config, 3)
    length = config.model.max_length
    assert more_flops - fewer_flops == length * plan.flops_per_token(config.model, length)
    # Of each token besides: its id and label, and what the final norm keeps.
    besides = length * (8 + {"gpt2": 8, "llama": 4}[family])
    assert more - fewer - besides == length * plan.activations(config.model, False, precision == "bf16")


def test_a_checkpointed_layer_keeps_its_input(plan) -> None:
    config = run("gpt2", train__gradient_checkpointing="true")
    kept = counted(config, 3)[2] - counted(config, 2)[2]
    length, one_layer = config.model.max_length, plan.layer_activations(config.model, False)
    assert kept - 16 * length == length * (plan.activations(config.model, True, False) - one_layer)


def test_sharing_leaves_the_sixteen_bytes_in_shares(plan) -> None:
    config = load_model_config("llama-3.2-1b")
    whole = [plan.sharded(config, number) - 16 * plan.parameters(config) / number for number in (8, 1024)]
    assert whole[0] == pytest.approx(whole[1])
    assert whole[0] > 2 * plan.layer_parameters(config)


@pytest.mark.skipif(platform.system() != "Linux", reason="/proc is Linux's")
@pytest.mark.parametrize(("layers", "width", "batch", "length"), [(6, 384, 4, 256), (8, 512, 1, 128)])
def test_the_sum_is_the_memory_that_a_process_really_takes(plan, layers, width, batch, length) -> None:
    """16 bytes a parameter and the activations, in float32, and up to a third for what is there while a layer or the loss is computed.

    The least of up to three processes: where arrays come to lie changes the peak by a tenth.
    """
    sizes = [f"num_layers={layers}", f"width={width}", f"feed_forward.width={4 * width}", f"max_length={length}", "vocab_size=4096"]
    config = load_model_config("gpt2-character", sizes)
    expected = 16 * plan.parameters(config) + batch * length * plan.activations(config, False, bf16=False)
    command, grown = [sys.executable, "-c", GROWTH, *map(str, (layers, width, batch, length))], []
    while len(grown) < 3 and not any(size < 4 / 3 * expected for size in grown):
        done = subprocess.run(command, env=environment(), cwd=DOCS.parent, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        grown.append(int(done.stdout))
    assert expected < min(grown) < 4 / 3 * expected
