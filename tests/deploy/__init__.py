"""The files that run the service in containers, checked by the tools that will read them."""
