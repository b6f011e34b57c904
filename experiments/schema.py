"""The type of a run's configuration, for a `get_data` of your own."""

from experiments.config.schema import Config

__all__ = ["Config"]
