"""The statuses of Linkface, each with its HTTP code, and what raises it here.

``of`` is the one translation from errors; what only this generation knows is raised as a ``Refusal``.
"""

from __future__ import annotations

from dataclasses import dataclass

from service import errors
from service.errors import RequestError, ServiceError

OK = "OK"


@dataclass(frozen=True, slots=True)
class Status:
    """One status: HTTP code, text to the letter, and when it is answered. One without ``when`` is reserved."""

    http: int
    text: str
    when: str = ""
    errors: tuple[type[ServiceError], ...] = ()


STATUSES = (
    Status(400, "ENCODING_ERROR", "a parameter is not UTF-8"),
    Status(400, "DOWNLOAD_TIMEOUT", "the address did not answer in time", (errors.PictureDownloadTimedOut,)),
    Status(400, "DOWNLOAD_ERROR", "the address cannot or may not be fetched", (errors.PictureDownloadFailed,)),
    Status(
        400,
        "IMAGE_FILE_SIZE_TOO_BIG",
        "a selfie of more than 5 MB, or a body or an address's file larger than the server takes",
        (errors.PictureDownloadTooLarge,),
    ),
    Status(400, "IMAGE_ID_NOT_EXIST", "no file of this app is kept under the id, or not any more"),
    Status(400, "NO_FACE_DETECTED", "no face in the selfie, or in none of the frames", (errors.FaceNotFound,)),
    Status(400, "CORRUPT_IMAGE", "the selfie is no picture, or damaged", (errors.PictureError,)),
    Status(400, "INVALID_IMAGE_FORMAT_OR_SIZE", "a selfie not JPG, BMP, PNG, GIF or TIFF, or not 9 to 4000 px"),
    Status(
        400,
        "WRONG_LIVENESS_DATA",
        "liveness data not as docs/linkface.md has it, or a damaged frame",
    ),
    Status(400, "INVALID_ARGUMENT", "a parameter is missing, doubled or malformed", (errors.RequestError,)),
    Status(401, "UNAUTHORIZED", "unknown api_id or wrong api_secret", (errors.AccessError,)),
    Status(401, "KEY_EXPIRED", "the operator disabled the app", (errors.AppUnavailable,)),
    Status(
        403,
        "RATE_LIMIT_EXCEEDED",
        "more requests a second or at once than the app may make, more wait than may wait, the request took longer "
        "than a request may, or too many failed log-ins",
        (errors.Overloaded, errors.DeadlineExceeded, errors.RateExceeded, errors.TooManyFailures),
    ),
    Status(403, "NO_PERMISSION", "the app lacks match or faceverify", (errors.PermissionDenied,)),
    Status(403, "OUT_OF_QUOTA", "the day's quota or the whole quota is used up", (errors.QuotaExceeded,)),
    Status(404, "NOT_FOUND", "another path below /identity/, or another method", (errors.UnknownCall,)),
    Status(500, "INTERNAL_ERROR", "anything else; the log has it", (errors.ServiceError,)),
)
"""Every status of the documents but ``OK``."""

BY_TEXT = {status.text: status for status in STATUSES}
_BY_ERROR = {error: status for status in STATUSES for error in status.errors}


class Refusal(RequestError):
    """An answer decided here: its status, the parameter that the picture came in, and a reason in words."""

    def __init__(self, status: str, *, image: str | None = None, reason: str | None = None) -> None:
        super().__init__(reason or status)
        self.status = BY_TEXT[status]
        self.image = image
        self.reason = reason


def of(error: ServiceError) -> Status:
    """The status of an error: a refusal's own, else that of the nearest class that has one."""
    if isinstance(error, Refusal):
        return error.status
    return next(_BY_ERROR[kind] for kind in type(error).__mro__ if kind in _BY_ERROR)


def about(error: ServiceError, image: str) -> ServiceError:
    """The same failure with the parameter that it concerns, where the documents promise one."""
    status = of(error)
    if isinstance(error, Refusal) or status.http != 400:
        return error
    return Refusal(status.text, image=image, reason=f"{image} is malformed" if status.text == _ARGUMENT else None)


_ARGUMENT = "INVALID_ARGUMENT"
