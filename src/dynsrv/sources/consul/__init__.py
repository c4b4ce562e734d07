"""Which instances does a service have in Consul? Blocking queries that survive what Consul does.

settings    the keys of the configuration, and Consul's environment variables behind them (environment)
source      one backend's view: a watch, and how its instances are read (endpoints)
watch       one blocking query, shared by all backends with equal queries; verifies its answers
agents      which agent is asked, and over how many connections
transport   one request and its answer, by aiohttp, with what opens the door (access)
questions   what is asked; answers: what comes back
"""
