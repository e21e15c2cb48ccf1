"""The vendor's one table of error codes for V3 and V4, to the letter, and what raises each code here.

Texts are part of the contract, oddities included: applications compare them. Line breaks of the vendor's table are
single blanks. ``when`` is told for V3; each generation's ``codes.py`` adds what is its own.
"""

from __future__ import annotations

from service import errors
from service.api.codes import Code

_ELSEWHERE = "reserved: a parameter of no call of this server"
_BUSY = 'reserved: one of the cloud\'s internal services; here too much load answers 18, "qps request limit"'
_HIDDEN = "quality control: something hides this part"

GATEWAY = (
    Code(1, "Unknown error", "anything unexpected; the log has it under the log id", (errors.ServiceError,)),
    Code(
        2,
        "Service temporarily unavailable",
        "the database does not answer, or the request took longer than `request_timeout`",
        (errors.ServiceUnavailable, errors.DatabaseUnavailable, errors.DeadlineExceeded),
    ),
    Code(3, "Unsupported openapi method", "no call lives at this path", (errors.UnknownCall,)),
    Code(4, "Open api request limit reached", "reserved: there is no cluster whose quota could be used up"),
    Code(
        6,
        "No permission to access data",
        "the app was not granted this call",
        (errors.AccessError, errors.PermissionDenied),
    ),
    Code(
        13,
        "Get service token failed",
        "wrong keys where a call takes keys; the token endpoint itself answers in the words of OAuth",
        (errors.UnknownClient, errors.WrongSecret),
    ),
    Code(
        14,
        "IAM Certification failed",
        "a signature that does not verify, an unknown key, or a clock outside the signature's window",
        (errors.SignatureInvalid,),
    ),
    Code(15, "app not exsits or create failed", "the app was disabled", (errors.AppUnavailable,)),
    Code(
        17,
        "Open api daily request limit reached",
        "the app's quota of a day is used up",
        (errors.DailyQuotaExceeded,),
    ),
    Code(
        18,
        "Open api qps request limit reached",
        "more requests a second or at once than the app may make, more wait than may wait, or too many failed log-ins",
        (errors.Overloaded, errors.QuotaExceeded, errors.RateExceeded, errors.TooManyFailures),
    ),
    Code(19, "Open api total request limit reached", "the whole quota is used up", (errors.TotalQuotaExceeded,)),
    Code(
        100,
        "Invalid parameter",
        "no access token, or a text that is none, and no signature",
        (errors.TokenMissing,),
    ),
    Code(
        110,
        "Access token invalid or no longer valid",
        "a token that was not issued here or was revoked",
        (errors.TokenInvalid,),
    ),
    Code(111, "Access token expired", "a token issued here more than 30 days ago", (errors.TokenExpired,)),
)

_PARAMETERS = (
    Code(
        222001,
        "param[] is null",
        "a required parameter is missing or empty, or the body cannot be read at all",
        (errors.RequestError, errors.ParameterMissing, errors.ParameterMalformed),
    ),
    Code(222002, "param[start] format error", "not a whole number from 0", parameters=("start",)),
    Code(222003, "param[length] format error", "not a whole number of 1 to 1000", parameters=("length",)),
    Code(222004, "param[op_app_id_list] format error", _ELSEWHERE),
    Code(
        222005,
        "param[group_id_list] format error",
        "not a comma list of group ids",
        parameters=("group_id_list",),
    ),
    Code(
        222006,
        "group_id format error",
        "not 1 to 128 letters, digits and underscores",
        parameters=("group_id", "src_group_id", "dst_group_id"),
    ),
    Code(222007, "uid format error", "reserved: V2's name; V3 reports user_id under 222018"),
    Code(222008, "face_id format error", _ELSEWHERE),
    Code(222009, "quality_conf format error", _ELSEWHERE),
    Code(222010, "user_info format error", "more than 256 bytes of UTF-8, or no text", parameters=("user_info",)),
    Code(222011, "param[uid_list] format error", _ELSEWHERE),
    Code(222012, "param[op_app_id] format error", _ELSEWHERE),
    Code(
        222013,
        "param[image] format error",
        "not base64, not an address, larger than 10 MB, or no text at all",
        parameters=("image",),
    ),
    Code(222014, "param[app_id] format error", _ELSEWHERE),
    Code(222015, "param[image_type] format error", "not BASE64, URL or FACE_TOKEN", parameters=("image_type",)),
    Code(222016, "param[max_face_num] format error", "not a whole number of 1 to 10", parameters=("max_face_num",)),
    Code(
        222017, "param[face_field] format error", "a field that the documents do not know", parameters=("face_field",)
    ),
    Code(
        222018,
        "param[user_id] format error",
        "not 1 to 128 letters, digits and underscores",
        parameters=("user_id",),
    ),
    Code(
        222019,
        "param[quality_control] format error",
        "not NONE, LOW, NORMAL or HIGH",
        parameters=("quality_control",),
    ),
    Code(
        222020,
        "param[liveness_control] format error",
        "not NONE, LOW, NORMAL or HIGH",
        parameters=("liveness_control",),
    ),
    Code(
        222021,
        "param[max_user_num] format error",
        "not a whole number of 1 to 50 (search) or 1 to 20 (multi-search)",
        parameters=("max_user_num",),
    ),
    Code(
        222022,
        "param[id_card_number] format error",
        "not 17 digits and a digit or X",
        parameters=("id_card_number",),
    ),
    Code(
        222023,
        "param[name] format error",
        "no text, more than 256 bytes of UTF-8, or a control character in it",
        parameters=("name",),
    ),
    Code(
        222024,
        "param[face_type] format error",
        "not LIVE, IDCARD, WATERMARK, CERT or INFRARED",
        parameters=("face_type",),
    ),
    Code(
        222025,
        "param[face_token] format error",
        "not 1 to 64 letters, digits and underscores",
        parameters=("face_token",),
    ),
    Code(222026, "param[max_star_num] format error", _ELSEWHERE),
)

_PICTURES = (
    Code(222201, "network not available", "reserved: recognition needs no network here"),
    Code(222202, "pic not has face", "no face was found in the picture", (errors.FaceNotFound,)),
    Code(
        222203,
        "image check fail",
        "not JPEG, PNG, BMP, WebP or TIFF, damaged, or too many pixels",
        (errors.PictureError, errors.PictureUnreadable),
    ),
    Code(
        222204,
        "image_url_download_fail",
        "the address does not answer, or points where pictures may not be fetched from",
        (errors.PictureDownloadFailed,),
    ),
    Code(222205, "network not availablel", "reserved: recognition needs no network here"),
    Code(222206, "rtse service return fail", "reserved: one of the cloud's internal services"),
    Code(222207, "match user is not found", "nobody reaches the threshold", (errors.NoMatch,)),
    Code(
        222208,
        "the number of image is incorrect",
        "match takes exactly two pictures, faceverify 1 to 8",
        (errors.WrongPictureCount,),
    ),
    Code(
        222209,
        "face token not exist",
        "the token is unknown to this app, or its time is over and it was not enrolled",
        (errors.FaceTokenNotFound,),
    ),
    Code(
        222300,
        "add face fail",
        "the user has 20 faces already, or action_type is none of the call's",
        (errors.TooManyFaces,),
        ("action_type",),
    ),
    Code(222301, "get face fail", "reserved: reading a face fails only with the whole database (2)"),
    Code(
        222302,
        "system error",
        "the database refuses to write: disk full or read-only",
        (errors.LibraryError, errors.StorageFull),
    ),
    Code(222303, "get face fail", "reserved: reading a face fails only with the whole database (2)"),
)

_LIBRARY = (
    Code(
        223100, "group is not exist", "no group of this name; in a search, none of the groups", (errors.GroupNotFound,)
    ),
    Code(223101, "group is already exist", "groupAdd names a group that exists", (errors.GroupExists,)),
    Code(223102, "user is already exist", "reserved: adding a user that exists adds a face"),
    Code(223103, "user is not exist", "no such user in the group, or in any", (errors.UserNotFound,)),
    Code(223104, "group_list is too large", "a search names more than 10 groups", (errors.TooManyGroups,)),
    Code(223105, "face is already exist", "the user has this very face in this group", (errors.FaceExists,)),
    Code(223106, "face is not exist", "the user has no face of this token", (errors.EnrolledFaceNotFound,)),
    Code(223110, "uid_list is too large", _ELSEWHERE),
    Code(
        223111,
        "dst group is not exist",
        "userCopy names a destination that does not exist",
        (errors.DestinationGroupNotFound,),
    ),
    Code(223112, "quality_conf format error", _ELSEWHERE),
    Code(223113, "face is covered", "quality control: every part of the face is hidden", (errors.FaceCovered,)),
    Code(
        223114,
        "face is fuzzy",
        "quality control: the face is blurred, or has too few pixels",
        (errors.FaceRejected, errors.FaceFuzzy, errors.FaceTooSmall),
    ),
    Code(223115, "face light is not good", "quality control: the face is too dark", (errors.FaceLightPoor,)),
    Code(
        223116,
        "incomplete face",
        "quality control: the face runs over the picture's border, or is turned too far to be seen whole",
        (errors.FaceIncomplete, errors.PoseTooLarge),
    ),
    Code(223117, "app_list is too large", _ELSEWHERE),
    Code(223118, "quality control error", "reserved: an unknown value of quality_control answers 222019"),
    Code(223119, "liveness control item error", "reserved: an unknown value of liveness_control answers 222020"),
    Code(
        223120,
        "liveness check fail",
        "liveness control: the picture does not look taken of a living person; spoofing control: it looks synthetic",
        (errors.LivenessFailed,),
    ),
    Code(223121, "left eye is occlusion", _HIDDEN, (errors.LeftEyeCovered,)),
    Code(223122, "right eye is occlusion", _HIDDEN, (errors.RightEyeCovered,)),
    Code(223123, "left cheek is occlusion", _HIDDEN, (errors.LeftCheekCovered,)),
    Code(223124, "right cheek is occlusion", _HIDDEN, (errors.RightCheekCovered,)),
    Code(223125, "chin contour is occlusion", _HIDDEN, (errors.ChinCovered,)),
    Code(223126, "nose is occlusion", _HIDDEN, (errors.NoseCovered,)),
    Code(223127, "mouth is occlusion", _HIDDEN, (errors.MouthCovered,)),
)

_IDENTITY = (
    Code(
        222350,
        "police picture is none or low quality",
        "the authority's picture cannot be read, has no face, or was made ready for other weights and not kept; "
        "V4 answers verify_status 2",
        (errors.ReferencePicturePoor,),
    ),
    Code(
        222351,
        "id number and name not match or id number not exist",
        "the authority knows the number under another name; V4 answers verify_status 1",
        (errors.IdentityError, errors.IdentityMismatch),
    ),
    Code(
        222352,
        "name format error",
        "a character that no name has, such as a digit, or more than 64",
        (errors.NameMalformed,),
    ),
    Code(
        222353,
        "id number format error",
        "18 characters that break the rules: no day of birth, a wrong check character",
        (errors.IdNumberMalformed,),
    ),
    Code(
        222354,
        "id number not exist",
        "the authority does not know the number; V4 answers verify_status 1",
        (errors.IdNumberUnknown,),
    ),
    Code(
        222355,
        "police picture not exist",
        "the authority has no picture of the person; V4 answers verify_status 2",
        (errors.ReferencePictureMissing,),
    ),
    Code(
        222360,
        "invalid name or id number",
        "the authority knows the person and does not vouch, e.g. for a lost card; V4 answers verify_status 1",
        (errors.IdentityInvalid,),
    ),
)

_SYSTEM_BUSY = tuple(Code(number, "system busy", _BUSY) for number in range(222901, 222917))

_AUTHORITY = (
    Code(
        222361,
        "system busy",
        "the operator's authority on identities does not answer, or not as its contract says",
        (errors.AuthorityUnavailable,),
    ),
)

VENDORS_TABLE: tuple[Code, ...] = (
    *GATEWAY,
    *_PARAMETERS,
    *_PICTURES,
    *_LIBRARY,
    *_IDENTITY,
    *_SYSTEM_BUSY,
    *_AUTHORITY,
)
"""Every code of the vendor's table, in its order."""
