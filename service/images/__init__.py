"""Pictures and videos coming in: base64 text, addresses to fetch, bytes to decode.

Every guard against hostile input is here.
"""
