"""Which instances does EC2 have? Polls AWS, and drains instances before Auto Scaling terminates them.

settings    the keys of the configuration; values: their types
source      one backend: a poll, and how its instances become endpoints (endpoints)
poll        one repeated request, shared by all backends with equal ones
lifecycle   lets Auto Scaling terminate an instance once HAProxy has drained it
aws         what AWS is asked; responses: what it returns; failures: what its client raises
account     the clients of aiobotocore and their credentials; thread: the event loop that they run in
"""
