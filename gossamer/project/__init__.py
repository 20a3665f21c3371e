"""``gossamer init`` and ``gossamer train``: from an empty directory to a fleet on this machine that trains.

:mod:`~gossamer.project.making` writes a project, :mod:`~gossamer.project.local_fleet` makes its devices,
:mod:`~gossamer.project.training` its job, :mod:`~gossamer.project.following` runs and follows it.
"""
