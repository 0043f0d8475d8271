"""The configuration of a project: its schema, and how it is read."""

from fairlead.config.own import Own
from fairlead.config.reading import make_config, read_config
from fairlead.config.schema import (
    AdapterConfig,
    Config,
    DataConfig,
    LossConfig,
    ModelConfig,
    StopRule,
    TrainConfig,
    json_schema,
)

__all__ = [
    "AdapterConfig",
    "Config",
    "DataConfig",
    "LossConfig",
    "ModelConfig",
    "Own",
    "StopRule",
    "TrainConfig",
    "json_schema",
    "make_config",
    "read_config",
]
