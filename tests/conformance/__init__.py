"""What a broker has to do for Gossamer, asked of every broker in ``tests.brokers.BROKERS``."""
