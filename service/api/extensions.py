"""What our server's protocol adds to an ASGI scope, among its extensions. Other servers need not have it."""

DISCONNECTED = "aipface.disconnected"
"""A function of no arguments, cheap and callable in any thread: whether the client of that request has hung up."""

UNREAD_BODY = "aipface.unread_body"
"""A function of no arguments after which what comes of that request's body is thrown away as it comes.

To be called on the event loop.
"""
