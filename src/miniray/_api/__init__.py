"""The layer that users call: Ray's names, parameters and defaults."""
