"""The PyTorch model by itself: initialization, types, what it refuses. Equality with Hugging Face stands in tests/parity."""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configs import UserError, load_model_config
from transformer_torch import Transformer, cross_entropy, load, save
from transformer_torch.attention import fused_attention, plain_attention
from transformer_torch.cache import Cache
from transformer_torch.dropout import Dropout
from transformer_torch.generation_rows import BUCKET
from transformer_torch.normalization import LayerNorm, RMSNorm, plain_layer_norm, plain_rms_norm
from transformer_torch.weights import named_weights

gpt2 = load_model_config("gpt2-character", ["width=96", "feed_forward.width=384", "num_layers=8"])
LLAMA = load_model_config("llama-character", ["num_layers=2"])


def test_weights_start_as_gpt2s_do() -> None:
    """N(0, 0.02), and the projections into the residual sum divided by sqrt(2 * 8) (GPT-2, 2.3)."""
    weights = named_weights(Transformer(gpt2, seed=5))
    for name, weight in weights.items():
        if name.endswith("norm.weight"):
            assert (weight == 1).all()
        elif name.endswith("bias"):
            assert (weight == 0).all()
        else:
            expected = 0.02 / 4 if name.endswith(("output.weight", "down.weight")) else 0.02
            assert float(weight.detach().std()) == pytest.approx(expected, rel=0.05), name


def test_one_seed_gives_both_frameworks_the_same_weights() -> None:
    import transformer_tf
    from transformer_tf.weights import reader

    read = reader(transformer_tf.Transformer(LLAMA, seed=5))
    for name, weight in named_weights(Transformer(LLAMA, seed=5)).items():
        np.testing.assert_array_equal(read(name), weight.detach().numpy())
    assert not torch.equal(*(Transformer(LLAMA, seed=seed).decoder.embeddings.token.weight for seed in (5, 6)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mask", ["none", "tokens", "heads", "numbers"])
def test_one_query_of_each_grouped_head_attends_as_the_formula_says(mask: str, dtype: torch.dtype) -> None:
    """The kernel reads the queries of a group as tokens of one head."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 8, 1, 16), torch.randn(3, 2, 40, 16), torch.randn(3, 2, 40, 16)
    masks = {
        "none": None,
        "tokens": torch.rand(3, 1, 1, 40) > 0.5,
        "heads": torch.rand(1, 8, 1, 40) > 0.5,
        "numbers": torch.randn(3, 8, 1, 40),
    }
    given = masks[mask]
    wide, narrow = (given if given is None or given.dtype == torch.bool else given.to(kind) for kind in (torch.float64, dtype))
    exact = plain_attention(query.double(), key.double(), value.double(), wide, False, 0.25, None, Dropout(0.0))
    found = fused_attention(query.to(dtype), key.to(dtype), value.to(dtype), narrow, False, 0.25, None, Dropout(0.0))
    limit = 1e-5 if dtype == torch.float32 else 3e-2
    torch.testing.assert_close(found.double(), exact, rtol=limit, atol=limit)


def test_the_fused_norms_are_the_formulas() -> None:
    hidden_BTD = torch.randn(3, 5, LLAMA.width, dtype=torch.float64)
    gpt2 = load_model_config("gpt2-character")
    layer_norm, rms_norm = LayerNorm(gpt2, gpt2.width).double(), RMSNorm(LLAMA, LLAMA.width).double()
    for norm in (layer_norm, rms_norm):
        for parameter in norm.parameters():
            torch.nn.init.normal_(parameter)
    plain = plain_layer_norm(hidden_BTD, layer_norm.weight, layer_norm.bias, layer_norm.epsilon)
    torch.testing.assert_close(layer_norm(hidden_BTD), plain, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(rms_norm(hidden_BTD), plain_rms_norm(hidden_BTD, rms_norm.weight, rms_norm.epsilon), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [8, 40])
@pytest.mark.parametrize("place", ["embedding", "attention", "residual", "feed_forward", "head"])
def test_each_dropout_acts_in_training_alone(place: str, length: int) -> None:
    """Long sequences have another kernel of attention."""
    head = ["head={kind: classification, num_labels: 3}", "pooler={kind: first}"]
    preset, changes = ("bert-tiny", head) if place == "head" else ("gpt2-character", [])
    model = Transformer(load_model_config(preset, [*changes, "num_layers=1", f"dropout={{{place}: 0.5}}"]), seed=1)
    ids_BT = torch.arange(length)[None]
    assert not torch.equal(model(ids_BT), model(ids_BT))
    model.eval()
    assert torch.equal(model(ids_BT), model(ids_BT))


def test_generation_drops_nothing_and_leaves_every_part_in_its_mode() -> None:
    """A part that somebody holds in another mode than the rest stays there."""
    model = Transformer(LLAMA.model_copy(update={"dropout": LLAMA.dropout.model_copy(update={"residual": 0.5})}), seed=1).train()
    model.decoder.layers[0].eval()
    modes = [module.training for module in model.modules()]
    found = model.generate([[3, 1, 4]], max_new_tokens=20, eos_token_id=())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(found, model.eval().generate([[3, 1, 4]], max_new_tokens=20, eos_token_id=()))


def test_between_the_tokens_of_a_stream_a_model_is_in_training() -> None:
    """A step of training, and another stream, may come in between."""
    dropping = LLAMA.model_copy(update={"dropout": LLAMA.dropout.model_copy(update={"residual": 0.5})})
    model = Transformer(dropping, seed=1).train()
    expected = model.generate([[3, 1, 4]], max_new_tokens=12, eos_token_id=())[0, 3:].tolist()
    found = []
    for number, tokens in enumerate(model.stream([[3, 1, 4]], max_new_tokens=12, eos_token_id=())):
        assert all(module.training for module in model.modules())
        if number == 2:
            list(model.stream([[5, 9]], max_new_tokens=3, eos_token_id=()))
        found += tokens[0].tolist()
    assert found == expected


def test_ignored_labels_count_for_nothing() -> None:
    logits_BTV, labels_BT = torch.randn(2, 3, 7), torch.tensor([[1, -100, 2], [-100, -100, 6]])
    by_hand = -sum(logits_BTV[row, column].log_softmax(-1)[labels_BT[row, column]] for row, column in ((0, 0), (0, 2), (1, 2)))
    torch.testing.assert_close(cross_entropy(logits_BTV, labels_BT), by_hand)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_a_model_loads_in_the_type_that_is_asked_for(dtype: str, tmp_path: Path) -> None:
    model = Transformer(LLAMA)
    save(model, tmp_path / "run")
    loaded = load(tmp_path / "run", dtype=dtype)
    logits_BTV = loaded(torch.tensor([[1, 2, 3]]))
    assert logits_BTV.dtype == getattr(torch, dtype)
    torch.testing.assert_close(logits_BTV.float(), model(torch.tensor([[1, 2, 3]])), atol=0.02, rtol=0.02)


@torch.no_grad()
@pytest.mark.parametrize("positions", ["{kind: rotary}", "{kind: rotary, scaling: {kind: dynamic, factor: 2.0}}", "{kind: relative}"])
def test_a_model_is_copied_and_pickled_whole(positions: str) -> None:
    """As `torch.save` and other processes do with it."""
    model = Transformer(load_model_config("gpt2-mini", [f"positions={positions}", "num_layers=1"])).eval()
    ids = torch.arange(8)[None]
    expected = model(ids)
    # A copy is not compiled, as none of a module is.
    model.compile()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(other(ids), expected, rtol=0, atol=0)
        torch.testing.assert_close(other.double()(ids).float(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif("recompile_limit" not in inspect.signature(torch.compile).parameters, reason="an older PyTorch, with one limit for all")
def test_each_amount_of_room_is_compiled() -> None:
    """PyTorch by itself compiles a function eight times, here once, and leaves it uncompiled where it would need another program."""
    made: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, example: list[torch.Tensor]) -> Any:
        made.append(graph)
        return graph.forward

    model = Transformer(load_model_config("gpt2-mini", ["num_layers=1"])).eval()
    model.compile(backend=backend, dynamic=False)
    with torch._dynamo.config.patch(recompile_limit=1):
        for room in (1, 2):
            model.generate(np.arange(room * BUCKET - 10)[None] % 50, max_new_tokens=3, eos_token_id=())
            assert len(made) == room


def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path) -> None:
    model = Transformer(gpt2)
    cache = Cache(gpt2, 1, 4, torch.float32, torch.device("cpu"))
    mistakes = {
        "65 tokens are more than the model's max_length of 64": lambda: model(torch.zeros(1, 65, dtype=torch.long)),
        "outside the vocabulary of 65": lambda: model.generate([[65]]),
        "exceed the model's max_length": lambda: model.generate([[1] * 60], max_new_tokens=5),
        "unknown key 'temprature'; did you mean 'temperature'": lambda: model.generate([[1]], temprature=1.0),
        "pad prompts on the left": lambda: model.generate([[1, 2]], attention_mask=[[1, 0]]),
        "choose one of: plain, fused": lambda: Transformer(gpt2, attention="flash"),
        "5 tokens do not fit into a cache of 4": lambda: model(torch.ones(1, 5, dtype=torch.long), cache=cache),
        "attention_mask has shape [1, 3]; expected (batch, 5)": lambda: model(
            torch.ones(1, 5, dtype=torch.long), torch.ones(1, 3, dtype=torch.long)
        ),
        "has no use for pixel_values": lambda: model(torch.zeros(1, 5, dtype=torch.long), pixel_values=torch.zeros(1, 3, 8, 8)),
        "input_ids has rows of different lengths": lambda: model.generate([[1, 2], [1]]),
        "to='huggingface' is not known; choose one of: hf, run": lambda: save(model, tmp_path / "there", to="huggingface"),
        "no folder": lambda: load(tmp_path / "absent"),
        "dtype='int3' is not known": lambda: load(tmp_path, dtype="int3"),
    }
    for message, mistake in mistakes.items():
        with pytest.raises(UserError, match=r"^[^\n]*$") as error:
            mistake()
        assert message in str(error.value)


def test_a_loaded_model_trains_as_a_fresh_one_does(tmp_path: Path) -> None:
    """GPT-2's matrices lie turned in its files, query, key and value side by side, and stay so when they are loaded."""
    from configs.run import Optimizer
    from transformer_torch.optimizer import build_optimizer

    config = load_model_config("gpt2-character", ["num_layers=1", "width=24", "attention.num_heads=3", "feed_forward.width=40"])
    fresh = Transformer(config, seed=3)
    save(fresh, tmp_path / "hf", to="hf")
    loaded = load(tmp_path / "hf")
    turned = [name for name, weight in named_weights(loaded).items() if not weight.is_contiguous()]
    assert turned == [name for name, weight in named_weights(loaded).items() if weight.ndim == 2 and "embeddings" not in name]
    ids_BT = torch.randint(0, config.vocab_size, (2, 9), generator=torch.Generator().manual_seed(0))
    for model in (fresh, loaded):
        optimizer = build_optimizer(model, Optimizer(learning_rate=1e-2))
        assert optimizer.defaults["fused"]
        for _ in range(3):
            cross_entropy(model(ids_BT[:, :-1]), ids_BT[:, 1:]).backward()
            optimizer.step()
            optimizer.zero_grad()
    for name, weight in named_weights(fresh).items():
        if not name.endswith("key.bias"):
            torch.testing.assert_close(named_weights(loaded)[name], weight, rtol=1e-5, atol=1e-6, msg=name)
