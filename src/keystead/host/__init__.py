"""What runs beside the database servers: key endpoint, watch and fence, and steps on processes and files."""
