"""The policy language: what a statement is (model), how it is read (parse), what it means (compile, conditions)."""
