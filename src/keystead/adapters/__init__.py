"""The world: everything that touches disks, processes, sockets and databases, behind the ports of the domain."""
