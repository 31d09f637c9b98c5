"""What runs beside the database servers: key endpoint, watch and fence, and the steps that touch processes and files."""
