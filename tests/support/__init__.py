"""What the tests share: the real parts, started once per session, and waiting for conditions."""
