"""Speed and memory, side by side with the peers: ratios measured in one run."""
