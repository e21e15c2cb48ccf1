"""Properties that are computed when they are first asked for, and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class once(Generic[T]):  # noqa: N801 (a decorator)
    """For objects that one thread works with: the method's result, kept in the object under the method's name.

    ``functools.cached_property`` would do, but before Python 3.12 it holds one lock for all objects of a class while it
    computes: the networks of one request would wait for those of another.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> once[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> once[T] | T:
        if instance is None:
            return self
        value = self._function(instance)
        # Found there before this descriptor from now on, which has no __set__.
        instance.__dict__[self._name] = value
        return value
