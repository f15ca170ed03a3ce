"""From files to Python objects and back: formatters by suffix, storage classes, converters between Python types.

>>> from federation.formatters import formats
>>> formats().for_name("night/a.fits.gz").name
'fits'
"""

from federation.formatters.converters import Convert
from federation.formatters.formats import Formats, formats
from federation.formatters.formatter import Formatter
from federation.formatters.storage_class import StorageClass

__all__ = ["Convert", "Formats", "Formatter", "StorageClass", "formats"]
