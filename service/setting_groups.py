"""Settings of single parts of the service, kept together by part; ``service.settings.Settings`` is made of them."""

from __future__ import annotations

import contextlib
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, Field, HttpUrl, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


def comma_separated(value: object) -> object:
    """``"a, b"`` as environment variables write lists; real lists pass through."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def any_case(value: object) -> object:
    """A word of a few, as people write it: ``"FP32 "`` for ``"fp32"``."""
    return value.strip().lower() if isinstance(value, str) else value


def expanded(path: Path) -> Path:
    """A path whose ``~`` is somebody's home. Raises ``ValueError`` where the system knows of none."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"nobody knows which folder {path.parts[0]} is: write it in full") from None


def _no_file(path: Path) -> Path:
    place = expanded(path)
    with contextlib.suppress(OSError):  # what cannot be looked at is told of by who needs it
        if place.exists() and not place.is_dir():
            raise ValueError(f"{place} is no folder")
    return path


Folder = Annotated[Path, AfterValidator(_no_file)]
"""A folder, or the place of one that is to be made."""


class AccessSettings(BaseModel):
    """Who may ask how much, and how often a log-in may fail."""

    quota_qps: int | None = Field(default=None, ge=1, le=1_000_000, description="Requests a second of a new app.")
    quota_daily: int | None = Field(default=None, ge=1, le=10**15, description="Requests a day of a new app.")
    quota_total: int | None = Field(default=None, ge=1, le=10**15, description="Requests of a new app, ever.")
    quota_concurrent: int | None = Field(
        default=None, ge=1, le=100_000, description="Requests of a new app that may be answered at once."
    )
    login_failures: int = Field(
        default=20, ge=1, le=10**6, description="Failed log-ins of one key from one address that are looked at."
    )
    login_window: int = Field(default=300, ge=1, le=86400, description="Seconds within which failed log-ins count.")
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Addresses or networks whose `X-Forwarded-For` tells who is asking, comma separated.",
    )
    quota_time_zone: str = Field(
        default="UTC",
        description="Time zone whose midnights begin the days of quotas and usage, such as `Asia/Shanghai`.",
    )

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        return comma_separated(value)

    @field_validator("trusted_proxies", mode="after")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Of anything else, a name or a network with bits of a host, the web server would believe nobody, silently."""
        for network in value:
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(str(error)) from None
        return value

    @field_validator("quota_time_zone", mode="after")
    @classmethod
    def _is_time_zone(cls, value: str) -> str:
        if value != "UTC":  # which needs no data of time zones
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                raise ValueError("there is no such time zone here") from None
        return value


class ProcessSettings(BaseModel):
    """How many processes answer, and how they stop."""

    processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description=(
            "Server processes that share the port; each holds networks and indexes of its own: see "
            "docs/scaling.md#several-processes-on-one-machine."
        ),
    )
    shutdown_grace: float = Field(
        default=15.0, ge=0, le=3600, description="Seconds that running requests get to finish when the server stops."
    )
    shutdown_delay: float = Field(
        default=0.0,
        ge=0,
        le=3600,
        description=(
            "Seconds between the stop signal and the end of listening, while `/readyz` says no and requests are still "
            "answered: longer than a load balancer takes to notice, and nothing is refused. A second signal skips it."
        ),
    )


class SealingSettings(BaseModel):
    """Faces encrypted at rest."""

    encrypt_faces: Literal["off", "on", "only"] = Field(
        default="off",
        description=(
            "Encrypt embeddings and crops in the database under the master key: `on` (or `true`) what is written from "
            "now on; `only` also rejects unencrypted ones. `aipface key seal-faces` encrypts those already stored."
        ),
    )

    @field_validator("encrypt_faces", mode="before")
    @classmethod
    def _yes_or_no(cls, value: object) -> object:
        """As other settings say yes and no; YAML and TOML make truth values of some words."""
        text = str(value).strip().lower()
        return {"true": "on", "1": "on", "yes": "on", "false": "off", "0": "off", "no": "off"}.get(text, text)


class SearchSettings(BaseModel):
    """Where faces are searched."""

    search_exact: bool = Field(
        default=False,
        description=(
            "Compare a probe with every face of a large group instead of a short list; slower, for comparison. Of the "
            "backend `memory` alone: with `milvus`, `AIPFACE_MILVUS_INDEX=FLAT` does it."
        ),
    )

    search_backend: Literal["memory", "milvus"] = Field(
        default="memory",
        description="Where faces are searched: in the memory of each process, or in Milvus (the extra `milvus`).",
    )
    milvus_uri: str = Field(
        default="",
        description="Address of Milvus (`http://host:19530`), or a file for milvus-lite; needed by its backend.",
    )
    milvus_token: SecretStr | None = Field(default=None, description="What Milvus asks for: `user:password`, or a key.")
    milvus_index: str = Field(
        default="AUTOINDEX",
        pattern="^[A-Z0-9_]+$",
        description="Milvus' index of the embeddings, made with the collection; `FLAT` is exact.",
    )

    snapshot_interval: int = Field(
        default=1800,
        ge=0,
        le=7 * 86400,
        description=(
            "Seconds after which changed indexes are written to the home folder again, so that a start need not read "
            "every face from the database; 0 writes none, reads none and deletes those that there are."
        ),
    )
    snapshot_least_faces: int = Field(
        default=10_000, ge=1, le=10**12, description="Faces of an app below which its index is not written."
    )

    @property
    def milvus_is_a_file(self) -> bool:
        """Whether milvus-lite is meant; its client tells by the ending."""
        return self.search_backend == "milvus" and self.milvus_uri.endswith(".db")

    @field_validator("search_backend", mode="before")
    @classmethod
    def _any_case_of_backend(cls, value: object) -> object:
        return any_case(value)

    @model_validator(mode="after")
    def _milvus_has_an_address(self) -> SearchSettings:
        if self.search_backend == "milvus" and not self.milvus_uri:
            raise ValueError("the backend milvus needs milvus_uri")
        return self


class CaptureSettings(BaseModel):
    """Pictures sealed by the device that took them, and what is thought of the device."""

    envelope_max_age: int = Field(
        default=300,
        ge=1,
        le=86400,
        description="Seconds that the time of a capture envelope may lie in the past or in the future.",
    )
    envelope_key_grace: int = Field(
        default=7 * 86400,
        ge=0,
        le=366 * 86400,
        description="Seconds that old keys of capture envelopes work after `aipface app envelope-key rotate`.",
    )
    risk_window: int = Field(
        default=86400, ge=60, le=366 * 86400, description="Seconds within which people and failures of a device count."
    )
    risk_history: int = Field(
        default=30 * 86400,
        ge=60,
        le=3660 * 86400,
        description="Seconds that devices and pictures are remembered for the risk rules; at least `risk_window`.",
    )
    risk_people: int = Field(
        default=5, ge=2, le=100, description="Different people in front of one device that make it suspect."
    )
    risk_failures: int = Field(default=5, ge=1, le=10_000, description="Failed captures that make a device suspect.")
    risk_clock: int = Field(
        default=60, ge=1, le=86400, description="Seconds that a device's clock may be off before it is told."
    )

    @model_validator(mode="after")
    def _history_suffices(self) -> CaptureSettings:
        if self.risk_history < self.risk_window:
            raise ValueError("risk_history must not be shorter than risk_window")
        return self


class VideoSettings(BaseModel):
    """Video liveness."""

    max_video_bytes: int = Field(
        default=20 * 2**20,
        ge=1024,
        le=2**32,
        description="Largest video in bytes, before base64; a larger one is refused.",
    )
    max_video_seconds: float = Field(
        default=20.0, ge=1, le=120, description="Longest video; every second takes a processor about a second."
    )
    liveness_session_ttl: int = Field(
        default=300, ge=1, le=86400, description="Seconds in which a video must answer a session code; one only may."
    )
    liveness_actions: Annotated[tuple[Literal["0", "1", "4", "5", "7"], ...], NoDecode] = Field(
        default=("0", "4", "5", "7"),
        min_length=1,
        description=(
            "Actions that sessions ask for, comma separated: 0 blink, 1 open the mouth, 4 raise the head, 5 lower it, "
            "7 turn it to both sides. Clients of the cloud know all but 1."
        ),
    )

    @field_validator("liveness_actions", mode="before")
    @classmethod
    def _actions(cls, value: object) -> object:
        return comma_separated(value)


class IdentitySettings(BaseModel):
    """Person verification."""

    identity_url: str | None = Field(
        default=None,
        description=(
            "Address of an authority of your own that knows people by number and name, `https://...`; without it the "
            "register of `aipface identity` is asked."
        ),
    )
    identity_token: SecretStr | None = Field(
        default=None, description="Bearer token that the authority at `identity_url` wants."
    )
    identity_ca_file: Path | None = Field(
        default=None,
        description="Certificates in PEM that vouch for the authority, instead of the ones that public sites use.",
    )
    identity_timeout: float = Field(
        default=8.0, gt=0, le=60, description="Seconds that one question to the authority may take, attempts included."
    )
    identity_attempts: int = Field(
        default=3, ge=1, le=10, description="How often the authority is asked the same question until it answers."
    )
    identity_breaker_failures: int = Field(
        default=5, ge=1, le=1000, description="Questions without an answer in a row after which nothing is asked."
    )
    identity_breaker_seconds: float = Field(
        default=30.0, gt=0, le=3600, description="Seconds that nothing is asked then; after them one question decides."
    )

    @field_validator("identity_ca_file", mode="after")
    @classmethod
    def _absolute_path(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @field_validator("identity_url", mode="after")
    @classmethod
    def _is_guarded(cls, value: str | None) -> str | None:
        """Numbers and names travel there: encrypted, or not further than this machine."""
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.username is not None or parts.password is not None:
            raise ValueError("must not hold a password; there is identity_token")
        local = parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS
        if not parts.hostname or not (parts.scheme == "https" or local):
            raise ValueError("must begin with https://, or with http:// for this very machine")
        if not value.isprintable() or " " in value:
            raise ValueError("must hold no blanks and no control characters")
        if parts.port == 0:  # reading it raises ``ValueError`` for what is no port
            raise ValueError("port 0 is none")
        return value

    @model_validator(mode="after")
    def _authority_is_named(self) -> IdentitySettings:
        """Without its address the register would be asked, and whoever set these expects somebody else to be."""
        given = {"identity_token": self.identity_token, "identity_ca_file": self.identity_ca_file}
        for name, value in given.items():
            if value is not None and self.identity_url is None:
                raise ValueError(f"{name} needs identity_url")
        return self


class TraceSettings(BaseModel):
    """Traces of calls."""

    otlp_endpoint: HttpUrl | None = Field(
        default=None,
        description=(
            "Base address of an OpenTelemetry collector (OTLP over HTTP, such as `http://127.0.0.1:4318`) that gets "
            "traces of calls; needs the extra `otel`."
        ),
    )


class RetentionSettings(BaseModel):
    """What is written into the audit log, and how long things are kept that have no shorter time of their own."""

    audit_reads: bool = Field(
        default=True,
        description=(
            "Write into the audit log also the calls that change nothing (searches, comparisons); without it only "
            "their failures and what changes something."
        ),
    )
    audit_days: int = Field(
        default=365, ge=0, le=36_600, description="Days that entries of the audit log are kept; 0 keeps them for ever."
    )
    crop_days: int = Field(
        default=0,
        ge=0,
        le=36_600,
        description=(
            "Days after enrolment that a face's crop is kept; 0 keeps it as long as the face. Without its crop a face "
            "is found as before, but another model cannot embed it."
        ),
    )
    feedback_days: int = Field(default=180, ge=1, le=36_600, description="Days that feedback on answers is kept.")
    upload_ttl: int = Field(
        default=86400,
        ge=0,
        le=366 * 86400,
        description="Seconds that a file of a Linkface call can be named by its id in a later call; 0 keeps none.",
    )
    upload_bytes_per_app: int = Field(
        default=256 * 2**20,
        ge=0,
        le=2**50,
        description="Most bytes of such files kept for one app; the oldest give way.",
    )
