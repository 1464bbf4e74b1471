"""Ways to tune, one file each: `LEARNING_RATE`, `attach`, `save` and `load`."""
