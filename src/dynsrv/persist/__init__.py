"""Where do the servers survive a reload? In HAProxy's own configuration, which is kept current and never reloaded."""
