"""
Parameters declared once: a frozen dataclass gives names, types, defaults, bounds and descriptions.

The documentation's tables and the YAML files of `config/` are checked against the same dataclass.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterType,
    SetParametersResult,
)
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from instantft_ros.core.errors import ParameterError

T = TypeVar('T')

_TYPES = {bool: ParameterType.PARAMETER_BOOL, int: ParameterType.PARAMETER_INTEGER,
          float: ParameterType.PARAMETER_DOUBLE, str: ParameterType.PARAMETER_STRING}
_ARRAYS = {int: ParameterType.PARAMETER_INTEGER_ARRAY, str: ParameterType.PARAMETER_STRING_ARRAY}


@dataclass(frozen=True)
class Spec:
    """What is known of one parameter besides its name, type and default."""

    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False


def parameter(default: Any, description: str, *, low: float | None = None,
              high: float | None = None, choices: tuple[str, ...] = (),
              live: bool = False) -> Any:
    """Declare one field of a parameter dataclass; `live`: it may change while the node runs."""
    return field(default=default,
                 metadata={'spec': Spec(description, low, high, choices, live)})


def spec_of(declared: dataclasses.Field[Any]) -> Spec:
    """Give what was declared for a field."""
    spec: Spec = declared.metadata['spec']
    return spec


class Parameters(Generic[T]):
    """
    A node's parameters as one immutable value, replaced as a whole when a live one changes.

    Names get `prefix` in front. A value of the wrong type or out of bounds is refused by
    declaration (`ParameterError`) or by `set_parameters`, with the reason; the old value stands.
    """

    def __init__(self, node: Node, kind: type[T], prefix: str = '',
                 on_change: Callable[[T], None] | None = None) -> None:
        self._prefix, self._on_change = prefix, on_change
        self._fields = {prefix + f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
        values = {}
        for name, declared in self._fields.items():
            default = declared.default
            if isinstance(default, tuple):
                default = list(default)
            try:
                node.declare_parameter(name, default, _descriptor(declared))
            except ParameterException as error:
                raise ParameterError(f'parameter {name}: {error}') from error
            values[declared.name] = _value(node.get_parameter(name))
        self.value = kind(**values)
        if (problem := self._problem(values)):
            raise ParameterError(problem)
        node.add_on_set_parameters_callback(self._on_set)

    def _on_set(self, changed: list[Parameter]) -> SetParametersResult:
        values = {self._fields[p.name].name: _value(p) for p in changed
                  if p.name in self._fields}
        if not values:
            return SetParametersResult(successful=True)
        if (problem := self._problem(values)):
            return SetParametersResult(successful=False, reason=problem)
        self.value = dataclasses.replace(self.value, **values)  # type: ignore[type-var]
        if self._on_change is not None:
            self._on_change(self.value)
        return SetParametersResult(successful=True)

    def _problem(self, values: dict[str, Any]) -> str:
        for declared in self._fields.values():
            spec = spec_of(declared)
            value = values.get(declared.name)
            if spec.choices and value is not None and value not in spec.choices:
                return (f"{self._prefix}{declared.name} must be one of {list(spec.choices)}, "
                        f"got '{value}'")
        return ''


def _descriptor(declared: dataclasses.Field[Any]) -> ParameterDescriptor:
    spec = spec_of(declared)
    descriptor = ParameterDescriptor(name=declared.name, description=spec.description,
                                     read_only=not spec.live)
    default = declared.default
    if isinstance(default, tuple):
        descriptor.type = _ARRAYS[type(default[0])]
    else:
        descriptor.type = _TYPES[type(default)]
    if spec.choices:
        descriptor.additional_constraints = f'one of {", ".join(spec.choices)}'
    if spec.low is not None and spec.high is not None:
        if isinstance(default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(spec.low),
                                                     to_value=int(spec.high), step=0)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(
                from_value=float(spec.low), to_value=float(spec.high), step=0.0)]
    return descriptor


def _value(parameter: Parameter) -> Any:
    value = parameter.value
    if isinstance(value, (bool, int, float, str)):
        return value
    return tuple(value)
