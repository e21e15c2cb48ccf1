"""Every setting of the product, where it comes from and what it may be.

A value is taken from the command line (the ``overrides`` of :func:`load_settings`), else from the environment
(``AIPFACE_PORT=8001``), else from a TOML file (``port = 8001``), else it is the default written here. Nothing reads
the environment at import. ``docs/settings.md`` describes every field; a test compares the two.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from service.processors import available_cpus
from service.setting_groups import (
    AccessSettings,
    CaptureSettings,
    Folder,
    IdentitySettings,
    ProcessSettings,
    RetentionSettings,
    SealingSettings,
    SearchSettings,
    TraceSettings,
    VideoSettings,
    any_case,
    comma_separated,
    expanded,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "AIPFACE_"
CONFIG_VARIABLE = "AIPFACE_CONFIG"
CONFIG_NAME = "aipface.toml"
SHOWN_DEFAULT = "x-shown-default"
"""Key under which a field whose default is computed says how, for the documentation."""
FOREIGN_VARIABLES = frozenset({CONFIG_VARIABLE, "AIPFACE_SHARED"})
"""Names with our prefix that are no settings: the file's place, and benchmark data of developers."""


class SettingsError(Exception):
    """A setting is malformed; the text is one sentence for the operator."""


class UnknownSettingWarning(UserWarning):
    """An ``AIPFACE_*`` variable that no setting reads, most likely a slip of the pen."""


class Settings(
    AccessSettings,
    SealingSettings,
    SearchSettings,
    CaptureSettings,
    VideoSettings,
    IdentitySettings,
    TraceSettings,
    RetentionSettings,
    ProcessSettings,
    BaseSettings,
):
    """The effective settings of one process; immutable. Make one with :func:`load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, validate_default=True
    )

    home: Folder = Field(
        default=Path("~/.aipface"),
        description="Folder of all state: weights, embedded database, secret key, configuration file.",
    )

    # --- the server ---
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    tls: bool = Field(default=False, description="Answer TLS instead of plain HTTP: see docs/clients.md.")
    tls_cert: Path | None = Field(
        default=None,
        description="Certificate with its chain, PEM; by default the one that `aipface tls init` made.",
    )
    tls_key: Path | None = Field(default=None, description="Its private key, PEM; by default likewise.")
    port: int = Field(
        default_factory=lambda known: 443 if known.get("tls") else 8000,
        ge=0,
        le=65535,
        description="Port to listen on; 0 takes any free one.",
        json_schema_extra={SHOWN_DEFAULT: "`8000`, with TLS `443`"},
    )
    max_body_bytes: int = Field(
        default=10 * 2**20,
        ge=1024,
        le=2**32,
        description="Largest body in bytes; up to 8 times that is read before the refusal.",
    )
    private_alias: bool = Field(
        default=False,
        description=(
            "Also answer `/face-api/v3/...?appid=` without a token: whoever reaches the port may use every app."
        ),
    )
    header_timeout: float = Field(
        default=20.0, gt=0, le=3600, description="Seconds in which the head of a request must arrive."
    )
    body_timeout: float = Field(
        default=60.0, gt=0, le=3600, description="Seconds in which the body of a request must arrive."
    )
    request_timeout: float = Field(
        default=120.0,
        gt=0,
        le=3600,
        description="Seconds after which a request is answered 2 and its work given up, its body's arrival included.",
    )
    create_first_app: bool = Field(
        default=True, description="Create an app and print its keys when the server starts and no app exists."
    )

    # --- weights and inference ---
    pack: str = Field(
        default="core", pattern=r"^[a-z0-9_]{1,64}$", description="Pack of weights: see `aipface models list`."
    )
    model_dir: Path = Field(
        default_factory=lambda known: known["home"] / "models",
        description="Folder of the fetched weights.",
        json_schema_extra={SHOWN_DEFAULT: "`models` in the home folder"},
    )
    model_sources: Path | None = Field(
        default=None, description="Folder with weights already at hand, looked into before anything is downloaded."
    )
    offline: bool = Field(default=False, description="Never fetch weights; say what is missing instead.")
    accept_noncommercial: bool = Field(
        default=False, description="Allow packs whose licence forbids commercial use (`buffalo_l`, `buffalo_s`)."
    )
    device: Literal["auto", "cpu", "openvino", "cuda", "tensorrt"] = Field(
        default="auto",
        description="What computes networks: `cpu`, `openvino`, `cuda`, `tensorrt`, or `auto`: what measured fastest.",
    )
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        default="auto",
        description=(
            "How recognition networks are computed: `fp32`, `bf16` or `int8` (by OpenVINO, where the processor knows "
            "it), or `auto`: the fastest, as long as accuracy holds."
        ),
    )
    inference_threads: int = Field(
        default_factory=available_cpus,
        ge=1,
        le=1024,
        description="Threads that compute at the same time: one a request, two while nobody waits.",
        json_schema_extra={SHOWN_DEFAULT: "the CPUs granted to us; of several `processes` its share, 2 at least"},
    )
    batch_size: int = Field(
        default_factory=lambda known: 32 if known.get("device") in ("cuda", "tensorrt") else 1,
        ge=1,
        le=256,
        description="Most faces of several requests that are embedded in one run; 1 never waits for another request.",
        json_schema_extra={SHOWN_DEFAULT: "32 on a GPU, else 1"},
    )
    batch_wait_ms: float = Field(
        default=2.0, ge=0, le=1000, description="Milliseconds that a face waits for others, where they are batched."
    )
    queue_limit: int = Field(
        default=64,
        ge=0,
        le=100_000,
        description='Requests that may wait to compute; one more answers "busy".',
        json_schema_extra={SHOWN_DEFAULT: "`64`; of several `processes` its share"},
    )
    request_threads: int = Field(
        default_factory=lambda known: known["inference_threads"] + known["queue_limit"] + 16,
        ge=1,
        le=200_000,  # more than the default can be
        description=(
            "Threads that work on requests; fewer than may compute and wait together would let requests pile up unseen."
        ),
        json_schema_extra={SHOWN_DEFAULT: "`inference_threads` + `queue_limit` + 16"},
    )

    # --- pictures ---
    max_picture_pixels: int = Field(
        default=64_000_000,
        ge=10_000,
        le=2**32,  # OpenCV, which is told too, ends the process over a number that no word of the processor holds
        description="Most pixels of a picture, checked before it is decoded.",
    )
    url_timeout: float = Field(
        default=10.0, gt=0, le=300, description="Seconds that fetching a picture by address may take in all."
    )
    url_allow_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Hosts in private networks that pictures may be fetched from, comma separated; none by default.",
    )
    url_proxy: SecretStr | None = Field(
        default=None,
        description=(
            "HTTP proxy through which pictures are fetched, `http://[user:password@]host:port`; `environment` takes it "
            "from `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`. Names are resolved and checked here all the same, and "
            "the proxy is asked (CONNECT) for the checked address."
        ),
    )
    face_token_ttl: int = Field(
        default=3600, ge=1, le=366 * 86400, description="Seconds that the token of a detected face can be used."
    )
    keep_crops: bool = Field(
        default=True,
        description="Keep a small crop of each enrolled face, so that another model can be introduced later.",
    )

    # --- data ---
    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL to use, `postgresql://user:password@host/name`; without it an embedded one is run.",
    )
    database_pool_size: int = Field(default=10, ge=1, le=1000, description="Most connections to the database.")
    secret_key: SecretStr | None = Field(
        default=None,
        description=(
            "Master key that encrypts app secrets and signs tokens: 32 bytes as base64 or 64 hexadecimal digits; older "
            "keys may follow after a blank. Without it the file `secret.key` in the home folder is used, made once."
        ),
    )

    # --- logs ---
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least grave level to log: `debug`, `info`, `warning`, `error`."
    )
    log_format: Literal["text", "json"] = Field(default="text", description="`text` for people, `json` for machines.")
    slow_request_ms: int = Field(
        default=2000,
        ge=0,
        le=3_600_000,
        description="A call that takes more milliseconds is logged with what it spent where; 0 logs none.",
    )
    metrics_access: Literal["off", "loopback", "on"] = Field(
        default="loopback",
        description=(
            "Who may read `/metrics`: nobody (`off`), programs on this machine that come through no proxy "
            "(`loopback`), everybody who reaches the port (`on`)."
        ),
    )

    @property
    def secret_key_file(self) -> Path:
        """Where the master key lies when no setting gives it."""
        return self.home / "secret.key"

    @property
    def tls_folder(self) -> Path:
        """Where ``aipface tls`` keeps its certificates."""
        return self.home / "tls"

    def own_score_table(self, model_id: str) -> Path:
        """Where ``aipface calibrate`` leaves the operator's own score table for these weights."""
        return self.home / "calibration" / f"{model_id}.json"

    @field_validator("home", "model_dir", "model_sources", "tls_cert", "tls_key", mode="after")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else expanded(path).absolute()

    @field_validator("url_allow_hosts", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        return comma_separated(value)

    @field_validator("database_url", mode="after")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.match(r"postgres(ql)?(\+psycopg)?://", value.get_secret_value()):
            raise ValueError("must begin with postgresql://")
        return value

    @field_validator("log_level", "log_format", "device", "precision", "metrics_access", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return any_case(value)

    @model_validator(mode="after")
    def _threads_suffice(self) -> Settings:
        if self.request_threads <= self.inference_threads:
            raise ValueError("request_threads must exceed inference_threads")
        return self

    @model_validator(mode="after")
    def _a_file_is_for_one_process(self) -> Settings:
        if self.processes > 1 and self.milvus_is_a_file:
            raise ValueError("one process at a time can open a file of milvus-lite: processes must be 1")
        return self

    @model_validator(mode="after")
    def _certificate_has_a_key(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line, then environment, then file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _TomlSource(settings_cls)


class _TomlSource(PydanticBaseSettingsSource):
    """The configuration file; a home named on the command line decides which one, like the environment's does."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        home = self.current_state.get("home") or Settings.model_fields["home"].default
        named = os.environ.get(CONFIG_VARIABLE)
        try:
            path = expanded(Path(named or Path(home) / CONFIG_NAME))
        except ValueError as error:
            raise SettingsError(f"{CONFIG_VARIABLE if named else PREFIX + 'HOME'}: {error}") from None
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):  # a home that is a file is told of as a setting
            if named:
                raise SettingsError(f"{CONFIG_VARIABLE} names {path}, which does not exist") from None
            return {}
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"the configuration file {path} cannot be read: {error}") from None
        if unknown := sorted(set(content) - set(Settings.model_fields)):
            raise SettingsError(f"the configuration file {path} has unknown settings: {', '.join(unknown)}")
        return content


def load_settings(**overrides: object) -> Settings:
    """The effective settings; ``overrides`` that are ``None`` count as not given.

    Warns of ``AIPFACE_*`` variables that nothing reads; raises :class:`SettingsError` with one sentence when a value
    is malformed.
    """
    for name in unknown_variables(os.environ):
        warnings.warn(f"{name} is set but is no setting of aipface-server", UnknownSettingWarning, stacklevel=2)
    given: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from None


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Names that carry our prefix and that nothing reads."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | FOREIGN_VARIABLES
    return sorted(name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known)


def _sentence(error: ValidationError) -> str:
    """One sentence for all malformed settings; values are left out, for they may be secrets."""
    consequences = "default_factory_not_called"  # of another malformed setting
    malformed = [item for item in error.errors(include_input=False) if item["type"] != consequences]
    return "; ".join(_one_sentence(item["loc"], item["msg"]) for item in malformed)


def _one_sentence(location: Iterable[int | str], message: str) -> str:
    name = next(iter(location), None)
    text = message.removeprefix("Value error, ")
    text = text[:1].lower() + text[1:]
    return f"setting {name} ({PREFIX}{str(name).upper()}): {text}" if name is not None else f"settings: {text}"
