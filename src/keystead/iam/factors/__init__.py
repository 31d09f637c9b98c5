"""Signing in as steps: budgets of attempts, second factors, and how unusual a sign-in is."""
