"""The error codes of V2: numbers and texts of the cloud's old table, and what raises each code here.

Where a sample answer of the documents and the table disagree, the sample has it: ``216612`` and not ``216611`` for a
user who does not exist, "image exist" and not "image existed".
"""

from __future__ import annotations

from service import errors
from service.api.codes import Code, CodeTable
from service.api.vendors_table import GATEWAY

_INTERNAL = "reserved: one of the cloud's internal services"

_GATEWAY = (
    Code(
        2,
        "Service temporarily unavailable",
        "the service cannot answer now, or the request took longer than `request_timeout`",
        (errors.ServiceUnavailable, errors.DeadlineExceeded),
    ),
    *(code for code in GATEWAY if code.number not in (1, 2, 15)),
)
"""As in the vendor's common table, except for the errors that answer 2; those that answer 1 and 15 there have codes of
their own in V2."""

_REQUEST = (
    Code(216015, "module closed", _INTERNAL),
    Code(
        216100,
        "invalid param",
        "a parameter does not have its form, or the body cannot be read at all",
        (errors.RequestError, errors.ParameterMalformed, errors.IdentityError),
    ),
    Code(216101, "not enough param", "a required parameter is missing or empty", (errors.ParameterMissing,)),
    Code(216102, "service not support", "reserved: an unknown path answers 3"),
    Code(
        216103,
        "param too long",
        "more than 10 groups, more pictures than the call takes, a picture of more than 10 MB, "
        "a body of more than 10 MB (match: 20 MB), "
        "or a user_info of more than 256 bytes",
        (errors.ParameterTooLong, errors.TooManyGroups),
    ),
    Code(216110, "appid not exist", "the app was disabled", (errors.AppUnavailable,)),
    Code(216111, "invalid userid", "uid is not 1 to 128 letters, digits and underscores", parameters=("uid",)),
    Code(
        216200,
        "empty image",
        "not base64, or nothing at all",
        parameters=("image",),
    ),
    Code(
        216201,
        "image format error",
        "not JPEG, PNG, BMP, WebP or TIFF, damaged, or too many pixels",
        (errors.PictureError,),
    ),
    Code(216202, "image size error", "reserved: too many bytes answer 216103, too many pixels 216201"),
)

_SERVICE = (
    Code(
        216300,
        "db error",
        "the database does not answer or refuses to write",
        (errors.DatabaseUnavailable, errors.StorageFull),
    ),
    Code(216400, "backend error", _INTERNAL),
    Code(216401, "internal error", "anything unexpected; the log has it under the log id", (errors.ServiceError,)),
    Code(216402, "face not found", "no face was found in the picture", (errors.FaceNotFound,)),
    Code(216500, "unknown error", "reserved: what is unexpected answers 216401"),
)

_LIBRARY = (
    Code(
        216100,
        "already add",
        "every group that a user is copied into has the user",
        (errors.UserAlreadyInGroup,),
    ),
    Code(216611, "user not exist", "reserved: the samples give 216612"),
    Code(
        216612,
        "user not exist",
        "no such user in the groups, or in any; update: not in each of them",
        (errors.UserNotFound,),
    ),
    Code(216613, "fail to delete user record", "reserved: deleting fails only with the whole database (216300)"),
    Code(216614, "not enough images", "match takes two pictures or more", (errors.WrongPictureCount,)),
    Code(
        216615,
        "fail to process images",
        "a face fails quality or liveness control, which V2 has no parameter for",
        (errors.FaceRejected,),
    ),
    Code(216616, "image exist", "the user has this very face in each of the groups", (errors.FaceExists,)),
    Code(
        216617,
        "fail to add user",
        "the user has 20 faces already",
        (errors.LibraryError, errors.TooManyFaces),
    ),
    Code(
        216618,
        "no user in group",
        "identify, multi-identify: none of the groups exists, or nobody is in them; group/adduser: no such source; "
        "in these and where users are enrolled: the group belongs to a scene",
        (errors.GroupNotFound, errors.DestinationGroupNotFound, errors.NoMatch),
    ),
    Code(
        216619,
        "user must be in one group at least",
        "group/deleteuser would take the user out of the last group",
        (errors.LastGroupOfUser,),
    ),
    Code(216630, "recognize error", _INTERNAL),
    Code(216631, "request add user overlimit", "reserved: one call adds one user"),
)

CODES = CodeTable([*_GATEWAY, *_REQUEST, *_SERVICE, *_LIBRARY])
"""Every code of V2; 216100 stands for two things, which the samples tell apart by the text."""
