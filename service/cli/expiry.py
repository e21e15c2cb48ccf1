"""Warns of a certificate that expires while the server runs, perhaps months after anybody read its start messages."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from service.access.certificates import RENEWAL_DAYS, describe

logger = logging.getLogger(__name__)

DAY_SECONDS = 86400.0


def remind_daily(loop: asyncio.AbstractEventLoop, path: Path) -> None:
    """Have the log warn once a day while the certificate that is at ``path`` now has few days left.

    What takes its place there meanwhile is not answered with before the next start. Raises ``CertificateError``.
    """
    certificate = describe(path)

    def remind() -> None:
        loop.call_later(DAY_SECONDS, remind)
        if certificate.days_left < RENEWAL_DAYS:
            logger.warning(
                "the certificate that is answered with %s: aipface tls renew makes another of ours, "
                "and a restart of the server takes it",
                certificate.end,
            )

    loop.call_later(DAY_SECONDS, remind)
