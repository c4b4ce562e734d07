"""What does dynsrv serve over HTTP? Metrics, health, the API and the status page.

server          the application of all routes, and the port that it is served on
api             the routes below /api/v1, for programs; openapi: their description
event_stream    the feed of changes behind /api/v1/events
page            the status page at /, for people
auth            who may change something
interfaces      what all of this needs from the rest of dynsrv
server_metrics  the metrics of single servers
slices          how long computations leave the event loop to others

Those that need aiohttp are imported by a daemon that listens, and by nothing else.
"""
