"""Is dynsrv alive? Docker asks in the container: the exit code is 0 if /healthz answers 200.

The standard library alone: a whole dynsrv, started every few seconds, would cost more than the one that it asks.
"""

import os
import ssl
import urllib.request

# A certificate for 127.0.0.1 is nobody's, and a proxy of the environment is not meant.
handlers = (
    urllib.request.ProxyHandler({}),
    urllib.request.HTTPSHandler(context=ssl._create_unverified_context()),  # noqa: S323, SLF001 - asks itself
)
urllib.request.build_opener(*handlers).open(os.environ["DYNSRV_HEALTH_URL"], timeout=4).close()
