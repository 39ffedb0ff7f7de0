"""One rank of a training: what the job declares, built and run. The only room but the agent that may import torch."""
