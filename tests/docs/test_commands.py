"""The commands in the README and the pages are commands: their configs and overrides are read, and the files that they name are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from configs import load_run_config

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]
RUN = re.compile(r"-m train(?:\.tensorflow)? (configs/runs/\S+\.yaml)([^`#\n]*)")
# What is only there when something has run, or is yet to be written.
MADE = ("runs/", "path/", "models/", "datasets/", "transformer_torch/x.py", "transformer_tf/x.py")


def commands() -> list[tuple[str, str, str]]:
    """Each run of a page: where it stands, its config, and the words behind it up to a comment; lines that end in a backslash go on."""
    texts = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8").replace("\\\n", " ") for page in PAGES}
    return [(name, match[1], match[2]) for name, text in texts.items() for match in RUN.finditer(text)]


@pytest.mark.parametrize(("page", "config", "words"), commands())
def test_a_run_of_a_page_is_a_run(page: str, config: str, words: str) -> None:
    overrides = [word for word in shlex.split(words) if re.match(r"[a-z_.]+=", word)]
    load_run_config(ROOT / config, overrides)


def test_the_pages_have_runs() -> None:
    assert len(commands()) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|yaml|md|json|lock))`", text)
    # A page in docs/ names its neighbours and the packages alike.
    named = [name for name in named if not name.startswith(MADE) and "NAME" not in name]
    assert not [name for name in named if not any((folder / name).exists() for folder in (ROOT, page.parent))]
