"""The demonstration: a night of LSSTCam over three sites, end to end, on real databases, files and processes."""

from federation.demo.run import run_demo

__all__ = ["run_demo"]
