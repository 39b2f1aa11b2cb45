"""PEFT's methods on a shared base: where they go, how they are configured, attached and removed."""
