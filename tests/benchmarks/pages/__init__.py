"""Times every page of the web console over a big, real service."""
