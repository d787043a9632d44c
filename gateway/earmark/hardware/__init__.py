"""Boards, parts and kits: what a node is made of, and all that follows from it.

A *board* has pins with limits, a *part* has terminals, a *kit* says which parts a node has.  A kit fitted to a board
is a `Build`; from it come the firmware's settings, conflicts by name, wiring, bill of material, battery life and build
page.  Only `library` reads files, the TOML under hardware/; everything else computes.
"""
