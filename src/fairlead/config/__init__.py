"""The configuration of a project: its schema, and how it is read."""

from fairlead.config.reading import read_config
from fairlead.config.schema import (
    AdapterConfig,
    Config,
    DataConfig,
    LossConfig,
    ModelConfig,
    TrainConfig,
    json_schema,
)

__all__ = [
    "AdapterConfig",
    "Config",
    "DataConfig",
    "LossConfig",
    "ModelConfig",
    "TrainConfig",
    "json_schema",
    "read_config",
]
