"""Calibration: from the counts of a camera to reflectance.

Files in reading order: `reflectance` (the way that a request names), `white_dark` (white and dark references), `panel`
(a white panel in the scene), `reference_panels` (areas of known reflectance), `empirical_line` (gain and offset of each
band).
"""
