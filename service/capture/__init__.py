"""Use cases of pictures that come sealed from the device that took them: keys, envelopes, risk."""
