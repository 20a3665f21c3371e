"""What people's own scripts call: :class:`gossamer.Agent` and :func:`gossamer.serve`. Importing this loads nothing."""
