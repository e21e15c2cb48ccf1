"""What a snapshot says of itself, as ``head.json`` in its file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT: Literal[3] = 3


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CodecHead(_Strict):
    population: int = Field(ge=1)
    axes: int = Field(ge=1)
    fine_axes: int = Field(ge=1)
    trained: int = Field(ge=1, description="bytes")


class SegmentHead(_Strict):
    group_pk: int
    rows: int = Field(ge=1)
    codec: int | None = Field(ge=0, description="place in the list of codecs")
    codes: int = Field(ge=0, description="bytes")
    short_list: int = Field(ge=0)


class ListHead(_Strict):
    """Of a group of several segments: how long their common list has to be, as measured for so many faces."""

    group_pk: int
    faces: int = Field(ge=1)
    length: int = Field(ge=1)


class Head(_Strict):
    """What a snapshot says of itself. ``mark`` is the last change of the app's log that it has seen."""

    format: Literal[3]
    faiss: str
    byte_order: Literal["little", "big"]
    model_id: str
    dimension: int = Field(ge=1)
    app_pk: int
    mark: list[int] = Field(min_length=6, max_length=6)
    faces: int = Field(ge=0)
    loose: int = Field(ge=0, description="faces that are in no segment")
    codecs: list[CodecHead]
    segments: list[SegmentHead]
    lists: list[ListHead] = Field(default_factory=list)

    @property
    def coded(self) -> int:
        return sum(segment.rows for segment in self.segments)
