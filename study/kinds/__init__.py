"""Tables of the tasks, methods, optimizers and samplers, one row each; loads no torch."""
