"""Documented import path of `EngineChoice`, which is defined in engine_choice.py."""

from study.engines.engine_choice import AS_THE_CLUSTER_HAS_ROOM, PACKED, EngineChoice, EngineName

__all__ = ["AS_THE_CLUSTER_HAS_ROOM", "PACKED", "EngineChoice", "EngineName"]
