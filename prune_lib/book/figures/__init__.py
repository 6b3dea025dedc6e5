"""Figures: widths, curves, Grad-CAM, and what networks find in images."""
