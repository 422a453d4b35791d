"""Offline evaluation: what corrections would have gained on a bag or a folder of images."""
