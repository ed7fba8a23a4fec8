"""ESM-2 over packed sequences: the model, its attention, its weights and the device they run on."""
