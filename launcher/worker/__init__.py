"""One rank of a training: what the job declares, built and run. Torch is imported here, by the agent,
and by launcher.load_model."""
