"""aipface-server: a self-hosted face recognition server that answers the Baidu AI face API."""

__version__ = "0.1.0"
