"""Which instances does a service have in Consul? Follows it by blocking queries, and verifies what it gets.

settings      the keys of the configuration; values: their types; environment: the variables of Consul's own tools
source        one backend: a watch, and how its instances become endpoints (endpoints)
watch         one blocking query, shared by all backends with equal queries; verifies its responses (permission)
inspection    what `dynsrv check --live` reports
agents        which agent a request goes to, and on how many connections
transport     one request over aiohttp, with tokens and certificates (auth)
requests      what Consul is asked; responses: what it returns
"""
