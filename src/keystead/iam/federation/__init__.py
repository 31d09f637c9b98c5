"""People who sign in elsewhere: outside identity providers (OpenID Connect), and provisioning (SCIM 2.0)."""
