"""Many workers behind one parent: processes on this machine, or actors of a Ray cluster."""
