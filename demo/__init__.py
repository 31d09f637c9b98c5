"""The demonstration: the whole main job on real data, through the command line and real database clients.

    python -m demo [--dir DIR] [--data DIR] [--keep]

    place      where a run lives, what it started, how it is all ended again
    show       what is printed; proofs, each of which holds or not
    commands   the `keystead` command line, as several people use it
    clients    database clients over verified TLS
    flights    the data set
    writer     a client that writes on and remembers what was acknowledged
    stage      what the steps share
    region, data, keys, fence, copy, trail     the eight steps

Nothing in it is imported by the product, and it imports nothing of the product: it can do only what users can.
"""
