"""The training steps of the line, one module each, from files to files.

A step writes its model folder whole or not at all, and then its record: first dev selects, then
the selected weights, in float32, read the test rows once.
"""
