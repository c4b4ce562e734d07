"""Where do the servers survive a reload? In HAProxy's own configuration file, which dynsrv keeps current."""
