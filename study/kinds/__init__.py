"""Tables of the tasks, methods, optimizers, samplers, pruners, metrics and measurements; no torch."""
