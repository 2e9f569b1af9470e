"""Settings and the object graph: the only package that knows all the others."""
