"""From one YAML file to a supervised distributed PyTorch training."""
