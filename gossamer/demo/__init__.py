"""``gossamer demo``: a whole fleet on this machine, real data, real processes, real MQTT."""
