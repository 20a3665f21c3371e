"""The server's mathematics and round engine: what becomes of updates once they are in the inbox."""
