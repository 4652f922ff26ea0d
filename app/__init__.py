"""TransRec Serve: the service."""
