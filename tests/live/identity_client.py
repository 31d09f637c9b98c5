"""A workload on a database system's machine, with OCI's SDK as it is: calls the region with what lies in its files.

python identity_client.py BASE CA PATH...    environment: OCI_RESOURCE_PRINCIPAL_*; prints JSON
"""

import json
import os
import sys

import oci
from oci._vendor import requests

base, ca, *paths = sys.argv[1:]
signer = oci.auth.signers.get_resource_principals_signer()
told = {
    "statuses": [requests.get(base + path, auth=signer, verify=ca).status_code for path in paths],
    "whoami": requests.get(base + "/auth/whoami", auth=signer, verify=ca).json(),
    "region": signer.region,
    "tenancy": signer.tenancy_id,
    "token": signer.get_security_token(),
    "uid": os.getuid(),
}
print(json.dumps(told))
