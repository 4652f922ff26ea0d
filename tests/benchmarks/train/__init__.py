"""How fast a channel's adapter is trained, beside a plain loop that does what the paper's code does."""
