"""Large models behind one protocol, the small model, and the catalogue of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fiatkit import registry
from fiatkit.models._devices import Device, cores, is_memory
from fiatkit.settings import parse

if TYPE_CHECKING:
    from fiatkit.models.protocol import ChatModel

ROOM = "models.providers"


def create_chat_model(values: dict[str, Any]) -> ChatModel:
    """Make a large model from the `large:` block of a run file.

    Raises:
        UnknownNameError: there is no such provider.
        SettingsError: a key that the provider does not know, or a wrong value.
    """
    module = registry.get(ROOM, str(values.get("provider", "")))
    settings = parse(module.Settings, values, f"large ({values.get('provider')})")
    model: ChatModel = module.create(settings)
    return model


def provider_names() -> list[str]:
    """Names that `provider:` may have in a run file."""
    return registry.names(ROOM)


def is_enough(provider: str) -> bool:
    """Whether a provider needs no model's name beside its own."""
    fields = registry.get(ROOM, provider).Settings.model_fields
    return not ("model" in fields and fields["model"].is_required())


__all__ = ["Device", "cores", "create_chat_model", "is_enough", "is_memory", "provider_names"]
