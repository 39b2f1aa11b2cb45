"""K trials in one forward and backward pass over one frozen base; docs/packing.md explains it."""
