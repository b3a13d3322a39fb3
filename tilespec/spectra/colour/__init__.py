"""Colour: from spectra to CIE XYZ, Lab and sRGB, as Alvarez-Gila et al. (2017) render their images.

>>> from tilespec.spectra.colour.observer import Observer
>>> Observer.at(wavelengths).lab(spectra)  # doctest: +SKIP

Files in reading order: `observer` (colours of spectra for a human observer), `cie_tables` (its tables), `lab` (Lab and
the difference CIEDE2000), `camera` (the responses of a camera in place of an observer), `metamers` (different spectra
of one colour), `rendering` (the operator from spectra to sRGB), and `render` (the verb).

Laws: spectra are blocks ``pixel band``, and results keep their float type. The tables come from the package
colour-science (extra ``color``), which is loaded when the first observer is made.
"""
