"""The load tool: the real service over loopback, beside an empty handler of the same app in the same run."""
