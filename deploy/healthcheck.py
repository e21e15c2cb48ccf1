"""Exit status 0 when the server on this machine is ready to answer; what the container's HEALTHCHECK runs."""

import os
import sys
import urllib.error
import urllib.request

port = os.environ.get("AIPFACE_PORT", "8000")
try:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=4) as answer:
        sys.exit(answer.status != 200)
except urllib.error.HTTPError as error:
    sys.exit(error.read(500).decode(errors="replace"))
except OSError as error:
    sys.exit(f"no answer: {error}")
