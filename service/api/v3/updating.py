"""What ``faceset/user/update`` does, for the library and for scenes."""

from __future__ import annotations

from service.access import permissions
from service.api.ports import UseCases
from service.api.v3.requests import EnrolRequest
from service.intake.seen import SeenFace
from service.library.users import EnrolAction
from service.values import App


def update_user(service: UseCases, app: App, request: EnrolRequest, scene: str | None = None) -> SeenFace:
    """Replace the faces of an enrolled user. With ``REPLACE`` a missing user is enrolled, as in the cloud's documents.

    That needs the permission ``faceset/user/add`` as well.
    """
    enrolment = request.source, request.group_id, request.user_id, request.user_info
    if request.action is EnrolAction.REPLACE and permissions.allows(app, "faceset/user/add"):
        return service.users.add(app, *enrolment, EnrolAction.REPLACE, request.controls, scene)
    return service.users.update(app, *enrolment, request.controls, scene)
