"""The output layer over the vocabulary: what follows it, and a loss that keeps no logits."""
