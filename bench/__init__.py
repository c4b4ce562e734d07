"""How long do N servers take over the Runtime API, and how near is dynsrv to what HAProxy itself can do?"""
