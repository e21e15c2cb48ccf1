"""Exit status 0 when the server on this machine is ready to answer; what the container's HEALTHCHECK runs."""

import os
import ssl
import sys
import urllib.error
import urllib.request

tls = os.environ.get("AIPFACE_TLS", "").lower() in {"1", "true", "yes", "on"}
port = os.environ.get("AIPFACE_PORT", "443" if tls else "8000")
# Whether the server on this machine answers, not who vouches for it: nothing secret is sent.
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
try:
    address = f"{'https' if tls else 'http'}://127.0.0.1:{port}/readyz"
    with urllib.request.urlopen(address, timeout=4, context=context) as answer:  # noqa: S310 (the scheme stands above)
        sys.exit(answer.status != 200)
except urllib.error.HTTPError as error:
    sys.exit(error.read(500).decode(errors="replace"))
except OSError as error:
    sys.exit(f"no answer: {error}")
