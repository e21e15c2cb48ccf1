"""The operator's register as the authority that is asked."""

from __future__ import annotations

from dataclasses import replace

from service.errors import ReferencePictureMissing, ReferencePicturePoor
from service.identity.authority import Attestation, Verdict
from service.identity.claims import Claim
from service.identity.portraits import Looker, describe
from service.identity.register import Entry, Register
from service.values import App, Embedding


class LocalAuthority:
    """See :class:`service.identity.authority.Authority`. An app's own entry counts before the common one."""

    def __init__(self, register: Register, looker: Looker) -> None:
        self._register = register
        self._looker = looker

    def ask(self, app: App, claim: Claim, *, picture: bool) -> Attestation:
        """As the protocol says; never ``AuthorityUnavailable``."""
        entry = self._register.find(claim.number, app)
        if entry is None:
            return Attestation(Verdict.UNKNOWN)
        if not claim.names(entry.person.claim.name):
            return Attestation(Verdict.MISMATCH)
        if entry.revoked:
            return Attestation(Verdict.INVALID)
        return Attestation(Verdict.MATCH, entry.person.validity, self._embedding(entry) if picture else None)

    def _embedding(self, entry: Entry) -> Embedding:
        """By the weights in use: what other weights made is made anew from the portrait, once."""
        known = entry.person.picture
        if known is None:
            raise ReferencePictureMissing
        if known.model_id == self._looker.model_id:
            return known.embedding
        if known.portrait is None:
            raise ReferencePicturePoor(f"it is known to the weights {known.model_id} alone")
        made = replace(describe(self._looker, known.portrait, keep_portrait=False), portrait=known.portrait)
        self._register.replace_picture(entry, made)
        return made.embedding
