"""`python -m train.tensorflow` explains itself, and says what a run would be, as `python -m train` does."""

from __future__ import annotations

import difflib
import shlex
from pathlib import Path

import pytest

from configs import load_run_config
from tests.train.runs import run_config, write_text
from tests.train.test_tensorflow_end import DATES, WITHOUT, said_by
from train.objectives import prepare


def test_it_is_that_of_pytorch_but_for_what_the_backward_pass_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from train.dry_run import dry_run

    config = load_run_config("configs/runs/dates.yaml", [*DATES, "name=dates_tensorflow", f"train.output={tmp_path}"])
    dry_run(config, prepare(config), 1)
    ours, twin = capsys.readouterr().out.splitlines(), said_by(tmp_path, "-c", WITHOUT, "--dry-run").splitlines()
    differences = [line for line in difflib.ndiff(ours, twin) if line[0] in "-+"]
    assert [line[2:18].strip() for line in differences if line[0] == "-"] == ["runs as", "memory"]
    runs_as, memory, folder = [line[19:] for line in differences if line[0] == "+"]
    assert runs_as == "1 device, float32"
    assert memory.endswith("of weights, gradients and AdamW's moments in float32, what the backward pass needs is not counted")
    assert folder == f"{tmp_path / 'dates_tensorflow'} is made"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["causal_lm", "image_classification"])
def test_it_counts_the_products_that_pytorch_counts(tmp_path: Path, kind: str) -> None:
    from train.dry_run import count_step
    from train.tensorflow_dry_run import count_step as count_step_of_twin

    write_text(tmp_path)
    config = run_config(tmp_path) if kind == "causal_lm" else load_run_config("configs/runs/digits.yaml", ["train.batch_size=4"])
    batch = prepare(config).train.batch(0)
    assert count_step_of_twin(config, batch) == count_step(config, batch)[1]


def test_each_example_of_the_help_is_a_run() -> None:
    from train.tensorflow import DESCRIPTION

    examples = [shlex.split(line)[3:] for line in DESCRIPTION.splitlines() if line.startswith("  python -m train.tensorflow ")]
    assert len(examples) == 9
    for config, *overrides in examples:
        load_run_config(config, [word for word in overrides if word != "--dry-run"])
