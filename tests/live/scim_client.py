"""The compliance checks of scim2-tester against a server: `scim_client.py URL TOKEN`. Prints what passed and failed."""

import json
import sys

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

client = Client(base_url=sys.argv[1], headers={"Authorization": f"Bearer {sys.argv[2]}"})
scim = SyncSCIMClient(client)
scim.discover()
results = check_server(scim)
failed = [f"{each.title}: {each.reason}"[:900] for each in results if each.status in (Status.ERROR, Status.CRITICAL)]
print(json.dumps({"passed": sum(each.status == Status.SUCCESS for each in results), "failed": failed}))
