"""Stream processors: the registrar decides control requests, the limiter decides commands."""
