"""What breaks and how it comes back: real processes that are stopped, killed and starved."""
