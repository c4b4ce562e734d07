"""Which instances does EC2 have? Polled as often as AWS bears it, and drained before Auto Scaling ends them.

settings    the keys of the configuration
source      one backend's view: a poll, and how its instances are read (endpoints)
poll        one question, asked again and again for all backends that ask the same
lifecycle   lets Auto Scaling terminate an instance once HAProxy has drained it
aws         what is asked; answers: what comes back; failures: what does not
account     the clients of aiobotocore, and whose they are; thread: where they work
"""
