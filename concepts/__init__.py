"""The concepts a user owns: kept in a database, retrieved for a question, shown to the policy."""
