"""fiatkit: a large, frozen model reasons; a small, tuned model answers (FIAT, arXiv 2309.04663).

Public names are loaded when first used (PEP 562), so that `import fiatkit` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fiatkit._version import __version__

_WHERE = {
    "Comparison": "fiatkit.api",
    "Completion": "fiatkit.records",
    "DataSettings": "fiatkit.tasks",
    "Example": "fiatkit.records",
    "Exemplar": "fiatkit.records",
    "FiatError": "fiatkit.errors",
    "Model": "fiatkit.api",
    "Prediction": "fiatkit.records",
    "Predictor": "fiatkit.recipes.predictor",
    "Query": "fiatkit.records",
    "Rationale": "fiatkit.records",
    "RationaleStore": "fiatkit.reasoning",
    "Reasoner": "fiatkit.reasoning",
    "Recipe": "fiatkit.recipes",
    "RunConfig": "fiatkit.config",
    "Score": "fiatkit.records",
    "SmallModel": "fiatkit.models.local",
    "Task": "fiatkit.tasks",
    "compare": "fiatkit.api",
    "create_chat_model": "fiatkit.models",
    "fit": "fiatkit.api",
    "load": "fiatkit.api",
    "load_task": "fiatkit.tasks",
    "make_plan": "fiatkit.experiment",
    "read_config": "fiatkit.config",
    "tune": "fiatkit.tuning",
}

__all__ = [
    "Comparison",
    "Completion",
    "DataSettings",
    "Example",
    "Exemplar",
    "FiatError",
    "Model",
    "Prediction",
    "Predictor",
    "Query",
    "Rationale",
    "RationaleStore",
    "Reasoner",
    "Recipe",
    "RunConfig",
    "Score",
    "SmallModel",
    "Task",
    "__version__",
    "compare",
    "create_chat_model",
    "fit",
    "load",
    "load_task",
    "make_plan",
    "read_config",
    "tune",
]

if TYPE_CHECKING:
    from fiatkit.api import Comparison, Model, compare, fit, load
    from fiatkit.config import RunConfig, read_config
    from fiatkit.errors import FiatError
    from fiatkit.experiment import make_plan
    from fiatkit.models import create_chat_model
    from fiatkit.models.local import SmallModel
    from fiatkit.reasoning import RationaleStore, Reasoner
    from fiatkit.recipes import Recipe
    from fiatkit.recipes.predictor import Predictor
    from fiatkit.records import (
        Completion,
        Example,
        Exemplar,
        Prediction,
        Query,
        Rationale,
        Score,
    )
    from fiatkit.tasks import DataSettings, Task, load_task
    from fiatkit.tuning import tune


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'fiatkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
