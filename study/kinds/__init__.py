"""The tables, one row per kind; loads no torch.

Tasks, methods, optimizers, samplers and pruners (samplers.py), metrics, and the measurements that
each trial records beside them.
"""
