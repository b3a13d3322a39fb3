"""Colour: from spectra to CIE XYZ, Lab and sRGB, as Alvarez-Gila et al. (2017) render their images.

>>> from tilespec.spectra.colour.observer import Observer
>>> Observer.at(wavelengths).lab(spectra)  # doctest: +SKIP

Files in reading order: `observer` (how an eye sees spectra), `cie_tables` (its tables), `lab` (Lab and the difference
CIEDE2000), `camera` (three responses in place of an eye), `metamers` (different spectra of one colour), `rendering` (an
operator), and `render` (the verb, with its `options`).

Laws: spectra are blocks ``pixel band``, and results keep their float type. The tables come from the package
colour-science (extra ``color``), which is loaded when the first observer is made.
"""
