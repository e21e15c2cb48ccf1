"""Exit status 0 when the server on this machine is ready to answer; what the container's HEALTHCHECK runs."""

import os
import ssl
import sys
import urllib.error
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

tls = os.environ.get("AIPFACE_TLS", "").lower() in {"1", "true", "t", "yes", "y", "on"}
port = os.environ.get("AIPFACE_PORT") or ("443" if tls else "8000")
# Whether the server on this machine answers, not who vouches for it: nothing secret is sent.
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
# By no proxy of the environment: to that one, 127.0.0.1 is another machine.
opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
try:
    with opener.open(f"{'https' if tls else 'http'}://127.0.0.1:{port}/readyz", timeout=4) as answer:
        sys.exit(answer.status != 200)
except urllib.error.HTTPError as error:
    sys.exit(error.read(500).decode(errors="replace"))
except OSError as error:
    sys.exit(f"no answer: {error}")
