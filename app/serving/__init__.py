"""Serving: a frozen backbone, one immutable bundle a channel, and the swap between bundles."""
