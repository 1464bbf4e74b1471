"""Ways to tune, one file each, all with the same five names.

`LEARNING_RATE` is the default; `attach(model, settings, base_name)` makes the intended weights of
a fresh model trainable and all others not; `save(model, folder)` writes them as safetensors, and
`load(model, folder)` puts them on a fresh model; `serving(settings)` says what a server such as
vLLM needs to load them, in a sentence, or is empty where nothing is needed.
"""
