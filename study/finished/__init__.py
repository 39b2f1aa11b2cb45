"""Use a trained study: export, load, swap and score its adapters."""
