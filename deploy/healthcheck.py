"""Is dynsrv alive? Docker runs this in the container; it exits with 0 if /healthz answers 200.

It uses the standard library only: importing dynsrv every few seconds would cost more than the daemon itself.
"""

import os
import ssl
import urllib.request

# No certificate is valid for 127.0.0.1, and proxies in the environment do not apply.
handlers = (
    urllib.request.ProxyHandler({}),
    urllib.request.HTTPSHandler(context=ssl._create_unverified_context()),  # noqa: S323, SLF001 - loopback
)
urllib.request.build_opener(*handlers).open(os.environ["DYNSRV_HEALTH_URL"], timeout=4).close()
