"""What identity and policy cost an rpc: the same calls with both, with a token alone, without."""
