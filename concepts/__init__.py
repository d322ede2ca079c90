"""The things a user owns: kept in a database, found in images, handed to the policy."""
