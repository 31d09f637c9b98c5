"""The region's root key: whether it is open, opening it, closing it.

On the region's own machine the console script adds what changes the ways to open it (`seal list`, `seal add`, ...).
"""

from keystead.cli.command import group

seal = group("The root key: the ways to open it, opening and closing.")
