"""The documented place of `EngineChoice`, which engine_choice.py defines."""

from study.engines.engine_choice import AS_THE_CLUSTER_HAS_ROOM, PACKED, EngineChoice, EngineName

__all__ = ["AS_THE_CLUSTER_HAS_ROOM", "PACKED", "EngineChoice", "EngineName"]
