"""Reading TOML tables strictly: every value has its type, every key is known, every complaint says where."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from models.errors import ManifestError


class TomlTable:
    """One table of a manifest. Each getter takes its key out; :meth:`finish` complains of keys nobody took."""

    def __init__(self, content: Mapping[str, Any], place: str) -> None:
        self._content = dict(content)
        self.place = place

    def error(self, key: str, complaint: str) -> ManifestError:
        """The exception for ``key``; the caller raises it."""
        return ManifestError(f"{self.place}: {key} {complaint}")

    def _take(self, key: str, required: bool) -> Any:
        if key in self._content:
            return self._content.pop(key)
        if required:
            raise self.error(key, "is missing")
        return None

    def text(self, key: str) -> str:
        """A non-empty string."""
        value = self._take(key, required=True)
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, "must be a non-empty string")
        return value

    def optional_text(self, key: str) -> str | None:
        """A non-empty string or nothing."""
        return self.text(key) if key in self._content else None

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        """One of ``choices``."""
        value = self._take(key, required=default is None)
        value = default if value is None else value
        if value not in choices:
            raise self.error(key, f"must be one of {', '.join(choices)}, not {value!r}")
        return str(value)

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """A boolean."""
        value = self._take(key, required=default is None)
        value = default if value is None else value
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def count(self, key: str) -> int:
        """A whole number from 1."""
        value = self._take(key, required=True)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.error(key, "must be a whole number from 1")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        value = self._take(key, required=default is None)
        return self._finite(key, default if value is None else value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """One number or a list of them."""
        value = self._take(key, required=True)
        items = value if isinstance(value, list) else [value]
        if not items:
            raise self.error(key, "must not be empty")
        return tuple(self._finite(key, item) for item in items)

    def _finite(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < float("inf"):
            raise self.error(key, f"must be a number, not {value!r}")
        return float(value)

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A list of strings, or ``None`` when the key is absent."""
        value = self._take(key, required=False)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self.error(key, "must be a list of strings")
        return tuple(value)

    def shape(self, key: str) -> tuple[int | str, ...]:
        """Dimensions of a tensor: a whole number is fixed, a name is free."""
        return self._dimensions(key, self._take(key, required=True))

    def shapes(self, key: str) -> tuple[tuple[int | str, ...], ...]:
        """A list of shapes."""
        value = self._take(key, required=True)
        if not isinstance(value, list) or not value:
            raise self.error(key, "must be a list of shapes")
        return tuple(self._dimensions(key, item) for item in value)

    def _dimensions(self, key: str, value: Any) -> tuple[int | str, ...]:
        if not isinstance(value, list) or not value or not all(_is_dimension(item) for item in value):
            raise self.error(key, "must be a shape such as ['batch', 3, 112, 112]")
        return tuple(value)

    def relative_path(self, key: str) -> str | None:
        """A path with forward slashes that stays inside its folder, or ``None``."""
        value = self.optional_text(key)
        if value is None:
            return None
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "\\" in value or ":" in value:
            raise self.error(key, f"must be a relative path without '..', not {value!r}")
        return value

    def sha256(self, key: str) -> str:
        """64 lowercase hexadecimal digits."""
        value = self.text(key)
        if re.fullmatch(r"[0-9a-f]{64}", value) is None:
            raise self.error(key, "must be 64 lowercase hexadecimal digits")
        return value

    def digests(self, key: str) -> tuple[tuple[str, str], ...]:
        """An inline table of relative paths and the SHA-256 of each; empty when the key is absent."""
        table = self.optional_table(key)
        if table is None:
            return ()
        if any(".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute() for name in table.names):
            raise self.error(key, "must name relative paths without '..'")
        return tuple((name, table.sha256(name)) for name in table.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Keys that nobody has taken yet, in the order written."""
        return tuple(self._content)

    def table(self, key: str) -> TomlTable:
        """A table that must be there."""
        value = self._take(key, required=True)
        if not isinstance(value, dict):
            raise self.error(key, "must be a table")
        return TomlTable(value, f"{self.place} [{key}]")

    def optional_table(self, key: str) -> TomlTable | None:
        """A table or nothing."""
        return self.table(key) if key in self._content else None

    def tables(self, key: str) -> Iterator[tuple[str, TomlTable]]:
        """The named tables below ``key``, in the order written; none when the key is absent."""
        value = self._take(key, required=False) or {}
        if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
            raise self.error(key, "must hold named tables")
        for name, item in value.items():
            yield name, TomlTable(item, f"{self.place} [{key}.{name}]")

    def table_list(self, key: str) -> list[TomlTable]:
        """An array of tables with at least one entry."""
        value = self._take(key, required=True)
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise self.error(key, "must be a list of tables")
        return [TomlTable(item, f"{self.place} [{key} {index}]") for index, item in enumerate(value, 1)]

    def finish(self) -> None:
        """Complain of what nobody took: most likely a slip of the pen."""
        if self._content:
            raise ManifestError(f"{self.place}: unknown key {', '.join(sorted(self._content))}")


def _is_dimension(value: Any) -> bool:
    if isinstance(value, str):
        return value.isidentifier()
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
