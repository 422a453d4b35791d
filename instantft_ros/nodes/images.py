"""The reader of image messages, under the name by which the nodes know it."""

from instantft_ros.core.images import cv_bridge, ImageReader

__all__ = ['cv_bridge', 'ImageReader']
