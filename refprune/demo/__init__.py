"""The main job: prune a trained network in several ways, then judge three kernels."""

from refprune.demo.show import main

__all__ = ["main"]
