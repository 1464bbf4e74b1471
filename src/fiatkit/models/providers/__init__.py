"""Providers of large models, one file each: `Settings` and `create(settings) -> ChatModel`."""
