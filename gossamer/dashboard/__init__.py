"""The live page: where jobs and devices stand, for people and for Prometheus. It reads the server's store.

* ``settings`` where it listens and who may do what
* ``desk`` one reading of the store, shared by all who look; ``follower`` the sealed rounds of a job, read once each
* ``views``, ``device_rows`` what is shown, as plain values; ``metrics`` the same for Prometheus
* ``access`` host names, token, sessions; ``actions`` what the token opens
* ``events`` the stream that says what has changed; ``app`` the routes; ``server`` socket and thread
* ``assets`` the page itself, with uPlot for its charts
"""
