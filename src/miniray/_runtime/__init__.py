"""This process's attachment to a session: supervisor, workers, serialization and settings."""
