"""Compiled models, run from Python through their C ABI."""

from tgc.run.load import load
from tgc.run.model import Description, Model

__all__ = ["Description", "Model", "load"]
