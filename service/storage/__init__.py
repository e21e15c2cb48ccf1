"""All SQL of the service: the embedded PostgreSQL, the schema, units of work, repositories, the change log."""
