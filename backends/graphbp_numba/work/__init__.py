"""What the paths of one network share: choice, workspace, tasks, memory."""
