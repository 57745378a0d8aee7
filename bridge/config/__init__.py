"""The configuration: what may stand in the file, and how it is read.

`load` is the way in: layers.py lays file, environment and arguments over each other, converting.py
makes structs of them and notes every wrong value, the rules look at what no single key can know.
All problems come at once, each with the place to change and a remedy: an operator at three in the
morning should need one round. A value that may be a secret is never repeated, wherever it stood.
Secrets are named, not held; secrets.py reads them when they are needed.
"""

from bridge.config.loading import LoadedConfig, load

__all__ = ["LoadedConfig", "load"]
