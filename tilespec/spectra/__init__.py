"""Spectral steps: what a recipe is made of. Arithmetic only; nothing here reads a store or starts a graph.

`operators` holds what a fitted recipe does to spectra, `steps` what a user asks for and how it is fitted.
"""
