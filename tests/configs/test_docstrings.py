"""Every setting has a line of its own in the docstring of its config, in the order of the fields: `    name: what it is.`"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

import configs
from configs.base import Config

LINE = re.compile(r"^(\w+): ", re.MULTILINE)

MODULES = [importlib.import_module(f"configs.{path.stem}") for path in sorted(Path(configs.__file__).parent.glob("[a-z]*.py"))]
CONFIGS = sorted(
    {
        value
        for module in MODULES
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Config) and value is not Config
    },
    key=lambda config: (config.__module__, config.__name__),
)


def settings(config: type[Config]) -> list[str]:
    """A config's own fields, without the one that only names its kind."""
    own = [name for name in config.model_fields if name in config.__annotations__]
    types = {name: config.model_fields[name].annotation for name in own}
    return [name for name in own if not (get_origin(types[name]) is Literal and len(get_args(types[name])) == 1)]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_each_setting_has_its_line(config: type[Config]) -> None:
    docstring = re.sub(r"^    ", "", config.__doc__ or "", flags=re.MULTILINE)
    assert LINE.findall(docstring.partition("\n\n")[2]) == settings(config)
