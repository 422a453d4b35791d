"""Views: what the network looks at, a camera's whole image or a named region of it."""

from __future__ import annotations

from collections.abc import Iterable


def view_name(camera: str, region: str) -> str:
    """Name a view; an empty region is the camera's only one."""
    return f'{camera}/{region}' if region else camera


def split(view: str) -> tuple[str, str]:
    """Give camera and region of a view."""
    camera, _, region = view.partition('/')
    return camera, region


def cameras_of(views: Iterable[str]) -> list[str]:
    """Give the cameras of some views, each once, in their order."""
    return list(dict.fromkeys(split(view)[0] for view in views))
