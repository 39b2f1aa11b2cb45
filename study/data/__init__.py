"""Examples: reading and checking them, the embedded corpora, and the curation of records."""
