"""Who may do what: principals, the action catalogue, the policy language, the Guard, tokens and sign-in."""
