"""One page over several studies."""
