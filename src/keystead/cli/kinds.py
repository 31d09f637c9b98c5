"""The kinds of things that commands are about: what people call one, where the region lists them, what is in its id."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """`path` is below `/keystead/v1`; `label` is the second part of its ids; `placed`: it lies in a compartment."""

    noun: str
    path: str
    label: str
    placed: bool = False


USER = Kind("user", "/users", "user")
GROUP = Kind("group", "/groups", "group")
POLICY = Kind("policy", "/policies", "policy", placed=True)
DYNAMIC_GROUP = Kind("dynamic group", "/dynamic-groups", "dynamicgroup")
NETWORK_SOURCE = Kind("network source", "/network-sources", "networksource")
TENANCY = Kind("tenancy", "/tenancies", "tenancy")
IDENTITY_PROVIDER = Kind("identity provider", "/identity-providers", "identityprovider")
APPROVAL_RULE = Kind("approval rule", "/approval-rules", "approvalrule", placed=True)
VAULT = Kind("vault", "/vaults", "vault", placed=True)
KEY = Kind("key", "/keys", "key", placed=True)
SYSTEM = Kind("database system", "/db-systems", "mysqldbsystem", placed=True)
BACKUP = Kind("backup", "/backups", "mysqlbackup", placed=True)
