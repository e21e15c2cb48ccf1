"""The route that gives an app the public keys for its capture envelopes, as a JWK set (RFC 7517).

An app gets only its own keys, so the route does not reveal which apps exist. The app passes the keys on to its devices.
"""

from __future__ import annotations

from fastapi import APIRouter

from service.api import calls
from service.api.body import Parameters
from service.api.calls import Call, Dispatcher
from service.api.dialect import Enveloped
from service.api.envelope import Stamp, dump

PATH = "/envelope/v1/keys"


def _unread(_parameters: Parameters) -> None:
    """No parameters are read: the access token says whose keys are meant."""


CALL = Call(
    path=PATH,
    name="captureEnvelopeKeys",
    summary="Get the public keys that capture envelopes for this app are sealed with.",
    permission=None,
    parse=_unread,
    run=lambda service, app, _: service.envelope_keys.published(app),
    present=lambda _, keys: {"keys": keys},
    example={},
    methods=("GET",),
)


class KeySet(Enveloped):
    """Answers the bare JWK set, which clients hand to their library; errors look like V4's."""

    def success(self, result: object, stamp: Stamp) -> bytes:
        """The result and nothing else."""
        return dump(result)


def router(dispatcher: Dispatcher, dialect: KeySet) -> APIRouter:
    """The route of the keys."""
    return calls.router((CALL,), dialect, dispatcher, tag="envelope")
