"""Base models: found, loaded, checked, and the miniatures that the project trains itself."""
