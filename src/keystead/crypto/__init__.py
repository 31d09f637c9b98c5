"""Ciphers, keys derived from keys, signatures, password hashes, certificates. Pure: bytes in, bytes out.

The only package that imports `cryptography`. Every byte layout promised here is drawn in docs/formats/ and has golden
vectors; a format once written opens for ever.
"""
