"""The tables: what a task, a method, an optimizer or a sampler is, one row each; loads no torch."""
