"""Keys that stay elsewhere: in a token (PKCS#11) or in another KMS."""
