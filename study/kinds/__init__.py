"""Tables of tasks, methods, optimizers, samplers, pruners, metrics and measurements; no torch."""
