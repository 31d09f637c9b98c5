"""A workload on a database system's machine, with OCI's SDK as it is: calls the region with what lies in its files.

python identity_client.py UID BASE CA PATH...    environment: OCI_RESOURCE_PRINCIPAL_*; prints JSON

It begins as root, since the SDK may lie where that uid does not get to, and becomes the uid before it reads a file.
"""

import json
import os
import sys

import oci
from oci._vendor import requests

uid, base, ca, *paths = sys.argv[1:]
make = oci.auth.signers.get_resource_principals_signer
requests.get(base + "/auth/jwks", verify=ca)  # and with it comes all that is imported late
os.setgroups([])
os.setgid(int(uid))
os.setuid(int(uid))
signer = make()
told = {
    "statuses": [requests.get(base + path, auth=signer, verify=ca).status_code for path in paths],
    "whoami": requests.get(base + "/auth/whoami", auth=signer, verify=ca).json(),
    "region": signer.region,
    "tenancy": signer.tenancy_id,
    "token": signer.get_security_token(),
    "uid": os.getuid(),
}
print(json.dumps(told))
