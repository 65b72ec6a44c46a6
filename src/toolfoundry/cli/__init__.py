"""The commands: `main` has the application, the other modules a command or a few that belong together."""
