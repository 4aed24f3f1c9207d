"""Trust: what may be installed (The Update Framework) and who may talk (a fleet's certificate authority).

Pure: bytes, times and answers go in, verified values come out; nothing here touches a file, a socket or a clock. Importing this
package loads nothing heavy: python-tuf and `cryptography.x509` are loaded when they are first needed.

Modules:
    keys: signing keys of the roles.
    client: verify metadata in the order of the TUF specification.
    catalogue: what the verified targets say: releases and channels.
    repository: make metadata (publisher).
    roleset: which roles are due for a signature, and the signing.
    salvage: a repository of what is left at a damaged origin.
    authority: the fleet's certificate authority.
    bundle: the files that a node gets when it is enrolled.
    clock: the time floor, and how certificates are judged against it.
"""
