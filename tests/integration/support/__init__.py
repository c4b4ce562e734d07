"""What the integration tests are made of: real HAProxy, small web servers, exact load, and dynsrv as users start it."""
