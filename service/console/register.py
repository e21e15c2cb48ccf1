"""The register of people: entering a list of people, one request for each, so that the page can show progress."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse, Response

from service.console.site import Page, Site, Visit
from service.errors import ParameterError
from service.identity.claims import Claim
from service.identity.enrolment import COLUMNS, MOST_PICTURE_BYTES, Row
from service.images.endings import PICTURE_ENDINGS
from service.images.inline import decode_base64

MOST_BYTES = MOST_PICTURE_BYTES * 4 // 3 + 65_536
"""Of one person's request: a picture as base64 and room for the rest."""


def page(site: Site) -> Page:
    """Where a list and its pictures are chosen."""
    return lambda visit: site.render(
        visit, "register.html", columns=COLUMNS, endings=PICTURE_ENDINGS, most=MOST_PICTURE_BYTES
    )


def enter(site: Site) -> Page:
    """Enter one person into the common register. The answer masks the number."""

    def entered(visit: Visit) -> Response:
        try:
            row, picture = _read(visit.body)
        except (ValueError, ParameterError, RecursionError):
            return JSONResponse({"problem": "malformed"}, status_code=400)

        def sent(_claim: Claim) -> bytes | None:
            return picture

        result = site.service.enrolment.enter_row(row, sent)
        return JSONResponse({"number": result.number, "outcome": result.outcome.value, "reason": result.reason})

    return entered


def _read(body: bytes) -> tuple[Row, bytes | None]:
    """The row that a script sends as JSON, and its picture. Raises ``ValueError``, ``ParameterError``."""
    content: Any = json.loads(body)
    if not isinstance(content, dict) or not isinstance(content.get("line"), int):
        raise ValueError("an object with a line is expected")  # noqa: TRY004 - wrong as text, not as a type of ours
    values = {name: content.get(name, "") for name in COLUMNS}
    if not all(isinstance(value, str) for value in values.values()):
        raise ValueError("texts are expected")
    picture = values.pop("picture")
    return Row(content["line"], values), decode_base64(picture, MOST_PICTURE_BYTES) if picture else None
