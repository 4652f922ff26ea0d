"""The model: TransRec, its adapters and the one path that encodes items and histories."""
