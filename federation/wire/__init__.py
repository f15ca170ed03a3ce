"""The gRPC protocol between sites; the only package that sees generated stubs."""

import os

# the C library would print its own lines for what is reported as an error of ours
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
