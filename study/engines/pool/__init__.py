"""Many workers behind one parent: processes of this machine, or actors of a Ray cluster."""
