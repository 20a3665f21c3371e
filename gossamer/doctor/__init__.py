"""``gossamer doctor``: what is wrong with a device or a server, and what mends it.

Each module holds the checks of one subject. A check looks at one thing, changes nothing that stays, and returns a
:class:`~gossamer.doctor.finding.Finding`; it never raises for what it came to look for. On a device it imports what the
agent imports and no more: ``python -m gossamer.doctor --config FILE`` needs neither typer nor a server.
"""
