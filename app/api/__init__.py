"""The HTTP API: dependencies, schemas, errors, and a router a noun."""
