"""The local stack: one supervisor that starts wharf's processes in order, keeps them up and takes them down with it."""
