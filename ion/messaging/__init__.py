"""Floor 2, the mail room: addresses, envelopes, codecs, interceptors and transports."""
