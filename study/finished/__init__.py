"""What can be done with a trained study: export, load, swap and score its adapters."""
