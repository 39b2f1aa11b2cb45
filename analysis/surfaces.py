"""Kept so that earlier imports work; the code is in `analysis.surrogates.fits`."""

from analysis.surrogates.fits import Fits
from analysis.surrogates.fits import Surface as Surface


def surface(fits: Fits, names: tuple[str, str]) -> Surface:
    """Return the mean objective over two parameters, all others averaged out."""
    return fits.surface(names)
