"""A formatter of lsst-daf-butler that takes the files of benchmarks/transfer.py; importable, as the Butler wants it."""

from lsst.daf.butler import FormatterV2


class BytesFormatter(FormatterV2):
    default_extension = ".fits"
