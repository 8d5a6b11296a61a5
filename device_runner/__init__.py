"""The measuring instrument: runs the artifacts of a bundle and reports what it saw, as JSON.

Leaf of the project: standard library, numpy and one runtime, which is imported only when used.
"""

__version__ = "0.1.0"
