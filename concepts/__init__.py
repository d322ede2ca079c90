"""The things a user owns: kept in a database, found in pictures, handed to the policy."""
