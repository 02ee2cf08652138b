"""What every config shares: typed, frozen, and strict about names."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

# A path as people write it: a shell leaves the ~ of key=~/... as it is.
UserPath = Annotated[str, AfterValidator(os.path.expanduser)]


class Config(BaseModel):
    """A frozen group of settings. Unknown keys and wrong types are refused, nothing is coerced silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False, protected_namespaces=())
