"""The engines: what turns a `Plan` into pixels. They alone hold decoders."""
