"""`kstyle inspect …`: one file a command. A command is added to the group in `group.py`."""
