"""Tasks in YAML: what a row means, what both models are told, what is measured."""

from fiatkit.tasks.load import (
    DataSettings,
    DataSplits,
    load_data,
    load_examples,
    load_groups,
    load_new_rows,
    load_task,
    task_file,
    task_names,
    template_names,
    template_task,
)
from fiatkit.tasks.task import Task

__all__ = [
    "DataSettings",
    "DataSplits",
    "Task",
    "load_data",
    "load_examples",
    "load_groups",
    "load_new_rows",
    "load_task",
    "task_file",
    "task_names",
    "template_names",
    "template_task",
]
