"""What one person is not to do alone: memberships that end by themselves, and requests that others approve."""
