"""InstantFT for ROS 2: a camera classifier that learns an operator's corrections at once."""

from pkgutil import extend_path

# The generated msg, srv and action packages may lie elsewhere on the path (a sourced overlay)
# than these modules (a checkout): both are this package.
__path__ = extend_path(__path__, __name__)
