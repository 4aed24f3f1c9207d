"""Prediction of references in copied machine code."""
