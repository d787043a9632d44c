"""Boards on a serial line: found, flashed, enrolled, examined and listened to.

What runs on the board stands in `onboard/`, sent as it is over MicroPython's raw REPL by mpremote.
"""
