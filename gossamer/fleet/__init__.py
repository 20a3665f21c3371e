"""A fleet's files: keys, broker accounts, enrolment, and the server's settings."""
