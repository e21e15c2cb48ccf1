"""The one tree of everything that can go wrong and be told to a caller, named by meaning.

No wire code stands here: each generation of the API translates these classes into its own numbers and texts
(``service/api/*/codes.py``), and a test walks every class through every translation.
"""

from __future__ import annotations


class ServiceError(Exception):
    """Root of every failure that a caller is told about."""


# --- the request itself ---------------------------------------------------------------------------------------------


class RequestError(ServiceError):
    """The request cannot be understood or is not allowed."""


class ParameterError(RequestError):
    """A parameter is missing or malformed; ``parameter`` is its name on the wire."""

    def __init__(self, parameter: str, detail: str = "") -> None:
        super().__init__(f"{parameter}: {detail}" if detail else parameter)
        self.parameter = parameter


class ParameterMissing(ParameterError):
    """A required parameter was not sent, or was sent empty."""


class ParameterMalformed(ParameterError):
    """A parameter was sent and does not have the documented form."""


class ParameterTooLong(ParameterMalformed):
    """A parameter was sent and is longer, or names more things, than allowed."""


class UnknownCall(RequestError):
    """No call lives at this path."""


class TooManyGroups(RequestError):
    """A search names more groups than allowed."""


class WrongPictureCount(RequestError):
    """The number of pictures differs from what the call takes."""


class EnvelopeError(RequestError):
    """A capture envelope is not accepted."""


class EnvelopeNotOpened(EnvelopeError):
    """It was sealed for another key, was changed on the way, or holds something else than a capture."""


class EnvelopeStale(EnvelopeError):
    """What it holds was captured too long ago, or is said to come from the future."""


class EnvelopeReplayed(EnvelopeError):
    """Its nonce has been used before."""


# --- who is asking --------------------------------------------------------------------------------------------------


class AccessError(ServiceError):
    """The caller is not known, not allowed, or asks too often."""


class TokenMissing(AccessError):
    """No access token and no signature came along, or the token does not even look like one."""


class TokenInvalid(AccessError):
    """The token was not issued here, or was revoked."""


class TokenExpired(AccessError):
    """The token was issued here and is too old."""


class SignatureInvalid(AccessError):
    """An AK/SK signature does not verify, names an unknown key, or is outside its time window."""


class UnknownClient(AccessError):
    """The token endpoint does not know the API key."""


class WrongSecret(AccessError):
    """The token endpoint knows the API key, and the secret is another."""


class PermissionDenied(AccessError):
    """The app exists and may not make this call."""


class AppUnavailable(AccessError):
    """The app was disabled or deleted by the operator."""


class TooManyFailures(AccessError):
    """Too many log-ins with these keys, or from this address, have failed: none is looked at for a while."""


class QuotaExceeded(AccessError):
    """The app has used up what the operator allows it."""


class RateExceeded(QuotaExceeded):
    """As many requests as the app may make have been made in this second, or are being answered now."""


class DailyQuotaExceeded(QuotaExceeded):
    """The app has made the requests of the day."""


class TotalQuotaExceeded(QuotaExceeded):
    """The app has made all requests that it may make."""


# --- pictures and faces ---------------------------------------------------------------------------------------------


class PictureError(ServiceError):
    """The picture cannot be used."""


class PictureUnreadable(PictureError):
    """The bytes are not a picture of a supported format, are damaged, or are larger than allowed."""


class PictureDownloadFailed(PictureError):
    """The picture's address could not be fetched, or may not be."""


class PictureDownloadTooLarge(PictureDownloadFailed):
    """What the picture's address holds is larger than allowed."""


class PictureDownloadTimedOut(PictureDownloadFailed):
    """The picture's address did not answer in time."""


class FaceTokenNotFound(PictureError):
    """No face of this app is remembered under this token."""


class FaceNotFound(PictureError):
    """There is no face in the picture."""


# --- videos -----------------------------------------------------------------------------------------------------------


class VideoError(PictureError):
    """The video cannot be used."""


class VideoUnreadable(VideoError):
    """The bytes are not a video of a supported format, hold no moving picture, or are too short to show anything."""


class VideoTooLarge(VideoError):
    """The video has more bytes, seconds, frames or pixels than allowed."""


class VideoDamaged(VideoError):
    """The video begins well and cannot be decoded to an end that shows anything, or not in the time allowed."""


class SoundMissing(VideoError):
    """The video holds no sound, or less than the spoken code would take."""


class SeveralFaces(VideoError):
    """More than one person is in front of the camera."""


class SessionError(RequestError):
    """The session that a video answers cannot be used."""


class SessionUnusable(SessionError):
    """The session is unknown to this app, has been used, or its time is over."""


class SessionOfAnotherKind(SessionError):
    """The session asked for digits and the video claims to show actions, or the other way round."""


class CodeLengthsContradict(RequestError):
    """A session is asked for whose code would be longer at least than at most."""


# --- quality and liveness control -----------------------------------------------------------------------------------


class FaceRejected(ServiceError):
    """A face was found and does not meet the control that the caller asked for."""


class FaceIncomplete(FaceRejected):
    """The face runs over the picture's border."""


class FaceTooSmall(FaceRejected):
    """The face has too few pixels."""


class PoseTooLarge(FaceRejected):
    """The head is turned too far; the text names yaw, pitch or roll."""


class FaceLightPoor(FaceRejected):
    """The face is too dark."""


class FaceFuzzy(FaceRejected):
    """The face is blurred."""


class FaceCovered(FaceRejected):
    """All of the face is hidden; the classes below tell of a single part (left and right are the subject's)."""


class LeftEyeCovered(FaceCovered):
    """Something hides the left eye."""


class RightEyeCovered(FaceCovered):
    """Something hides the right eye."""


class LeftCheekCovered(FaceCovered):
    """Something hides the left cheek."""


class RightCheekCovered(FaceCovered):
    """Something hides the right cheek."""


class ChinCovered(FaceCovered):
    """Something hides the chin."""


class NoseCovered(FaceCovered):
    """Something hides the nose."""


class MouthCovered(FaceCovered):
    """Something hides the mouth."""


class LivenessFailed(FaceRejected):
    """The picture does not look taken of a living person."""


class SyntheticPicture(LivenessFailed):
    """The face looks made by a generative network."""


class PersonChanged(LivenessFailed):
    """A video does not show one and the same face from its beginning to its end."""


# --- the face library -----------------------------------------------------------------------------------------------


class LibraryError(ServiceError):
    """The face library does not allow what was asked."""


class GroupNotFound(LibraryError):
    """The group does not exist in this app."""


class GroupExists(LibraryError):
    """A group of this name exists already."""


class DestinationGroupNotFound(LibraryError):
    """The group to copy into does not exist."""


class UserNotFound(LibraryError):
    """The user does not exist in the group (or in any group)."""


class UserAlreadyInGroup(LibraryError):
    """A user is copied into a group that has it."""


class LastGroupOfUser(LibraryError):
    """A user is taken out of groups and would be left in none."""


class EnrolledFaceNotFound(LibraryError):
    """The user has no face of this token."""


class FaceExists(LibraryError):
    """The user has this very face in this group already."""


class TooManyFaces(LibraryError):
    """The user has as many faces as one may have."""


class NoMatch(LibraryError):
    """Nobody reaches the threshold."""


# --- person verification --------------------------------------------------------------------------------------------


class IdentityError(ServiceError):
    """The authority does not confirm a claimed identity, or cannot be asked about it."""


class NameMalformed(IdentityError):
    """A name holds what no name holds."""


class IdNumberMalformed(IdentityError):
    """A number has the form of an identity card's and breaks its rules: date of birth, check character."""


class IdentityMismatch(IdentityError):
    """The authority knows the number under another name."""


class ValidityMismatch(IdentityMismatch):
    """Number and name belong together, and the document is not valid from and to the days that were named."""


class IdNumberUnknown(IdentityError):
    """The authority does not know the number."""


class IdentityInvalid(IdentityError):
    """The authority knows number and name and does not vouch for them, e.g. since the document was reported lost."""


class ReferencePictureMissing(IdentityError):
    """The authority has no picture of the person."""


class ReferencePicturePoor(IdentityError):
    """The authority's picture of the person cannot be compared with: unreadable, no face, made for other weights."""


# --- the service itself ---------------------------------------------------------------------------------------------


class ServiceUnavailable(ServiceError):
    """The service cannot answer now through no fault of the caller."""


class Overloaded(ServiceUnavailable):
    """More requests wait than may wait."""


class DeadlineExceeded(ServiceUnavailable):
    """The request took longer than a request may; its work was given up."""


class DatabaseUnavailable(ServiceUnavailable):
    """The database does not answer."""


class StorageFull(ServiceUnavailable):
    """The database refuses to write (disk full, read-only)."""


class ModelChanged(ServiceUnavailable):
    """The library is in other weights, ``model_id``, than those that embedded the face."""

    def __init__(self, model_id: str) -> None:
        super().__init__(f"the library has moved to the weights {model_id}; once they are loaded this can be repeated")
        self.model_id = model_id


class AuthorityUnavailable(ServiceUnavailable):
    """The authority on identities does not answer, or not in a way that can be understood."""
